// Datagram sockets for benchmarks: a sender, a receiver, and the least that anything between them can cost.
//   datagram-tools send    udp|unix LOCAL REMOTE SIZE SECONDS   after a line of input: as fast as it is let, many per call
//   datagram-tools receive udp|unix LOCAL                       counts until nothing came for a second; prints JSON
//   datagram-tools relay   udp|unix LOCAL REMOTE LOCAL REMOTE   reads at the first pair, writes at the second
// LOCAL and REMOTE: a UDP port on 127.0.0.1, or the path of a socket. Ends are not connected, as QEMU's are not; the
// relay is, as a switch port is.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, ROOM = 2048, BUFFER = 1 << 20 };

static struct mmsghdr messages[BATCH];
static struct iovec pieces[BATCH];
static unsigned char room[BATCH][ROOM];

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static void check(int failed, const char *what) {
  if (failed) {
    perror(what);
    exit(1);
  }
}

static socklen_t address(const char *kind, const char *text, struct sockaddr_storage *made) {
  memset(made, 0, sizeof *made);
  if (!strcmp(kind, "udp")) {
    struct sockaddr_in *in = (struct sockaddr_in *)made;
    in->sin_family = AF_INET;
    in->sin_port = htons(atoi(text));
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return sizeof *in;
  }
  struct sockaddr_un *un = (struct sockaddr_un *)made;
  un->sun_family = AF_UNIX;
  strncpy(un->sun_path, text, sizeof un->sun_path - 1);
  return sizeof *un;
}

static int bound(const char *kind, const char *local) {
  struct sockaddr_storage where;
  socklen_t size = address(kind, local, &where);
  int fd = socket(where.ss_family, SOCK_DGRAM, 0), buffer = BUFFER;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
  if (where.ss_family == AF_UNIX) unlink(local);
  check(bind(fd, (struct sockaddr *)&where, size), local);
  return fd;
}

static void prepare(size_t size) {
  for (int i = 0; i < BATCH; i++) {
    pieces[i] = (struct iovec){room[i], size};
    messages[i].msg_hdr.msg_iov = &pieces[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
}

static int send_all(char **v) {
  struct sockaddr_storage to;
  socklen_t size = address(v[2], v[4], &to);
  int fd = bound(v[2], v[3]);
  prepare(atoi(v[5]));
  for (int i = 0; i < BATCH; i++) {
    memcpy(room[i], "\2\0\0\0\0\2\2\0\0\0\0\1\x88\xb5", 14);
    messages[i].msg_hdr.msg_name = &to;
    messages[i].msg_hdr.msg_namelen = size;
  }
  puts("ready");
  fflush(stdout);
  getchar();
  double end = now() + atof(v[6]);
  long sent = 0;
  while (now() < end) {
    int n = sendmmsg(fd, messages, BATCH, 0);
    if (n > 0) sent += n;
  }
  printf("{\"sent\": %ld}\n", sent);
  return 0;
}

static int receive_all(char **v) {
  int fd = bound(v[2], v[3]);
  struct pollfd wait = {fd, POLLIN, 0};
  double first = 0, last = 0;
  long count = 0;
  prepare(ROOM);
  puts("ready");
  fflush(stdout);
  while (poll(&wait, 1, count ? 1000 : 10000) > 0) {
    int n = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
    if (n <= 0) continue;
    last = now();
    if (!count) first = last;
    count += n;
  }
  printf("{\"received\": %ld, \"seconds\": %f}\n", count, last - first);
  return 0;
}

static void relay(char **v) {
  int fd[2];
  for (int i = 0; i < 2; i++) {
    struct sockaddr_storage to;
    socklen_t size = address(v[2], v[4 + 2 * i], &to);
    fd[i] = bound(v[2], v[3 + 2 * i]);
    check(connect(fd[i], (struct sockaddr *)&to, size), "connect");
  }
  puts("ready");
  fflush(stdout);
  struct pollfd in = {fd[0], POLLIN, 0}, out = {fd[1], POLLOUT, 0};
  prepare(ROOM);
  for (;;) {
    poll(&in, 1, -1);
    for (int i = 0; i < BATCH; i++) pieces[i].iov_len = ROOM;
    int n = recvmmsg(fd[0], messages, BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < n; i++) pieces[i].iov_len = messages[i].msg_len;
    for (int done = 0; done < n;) {
      int sent = sendmmsg(fd[1], messages + done, n - done, MSG_DONTWAIT);
      if (sent > 0) done += sent;
      else poll(&out, 1, 1000);
    }
  }
}

int main(int c, char **v) {
  if (c == 7 && !strcmp(v[1], "send")) return send_all(v);
  if (c == 4 && !strcmp(v[1], "receive")) return receive_all(v);
  if (c == 7 && !strcmp(v[1], "relay")) relay(v);
  fprintf(stderr, "see the head of datagram_tools.c\n");
  return 2;
}
