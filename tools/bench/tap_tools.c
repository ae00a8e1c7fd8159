/* What the TAP rows are measured with and against.
 *   tap_tools loop OFFLOAD A B          the least that two TAPs can cost: read one, write the other, nothing else
 *   tap_tools blast IF DSTMAC SECONDS   60-byte frames by sendmmsg into an interface; prints how many went, per second
 * loop prints "ready" when both TAPs are made, and goes on until it is killed. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define TURN 64

static int tap(const char *name, int offload)
{
    struct ifreq request = {0};
    int size = 12, fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) || ioctl(fd, TUNSETVNETHDRSZ, &size) ||
        ioctl(fd, TUNSETOFFLOAD, offload ? TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 : 0)) {
        perror(name);
        exit(1);
    }
    return fd;
}

static int loop(char **args)
{
    static char frame[70000];
    struct pollfd both[2] = {{tap(args[1], atoi(args[0])), POLLIN}, {tap(args[2], atoi(args[0])), POLLIN}};
    puts("ready");
    fflush(stdout);
    while (poll(both, 2, -1) >= 0)
        for (int from = 0; from < 2; from++)
            for (int left = both[from].revents & POLLIN ? TURN : 0; left; left--) {
                ssize_t got = read(both[from].fd, frame, sizeof frame);
                if (got <= 0 || (write(both[1 - from].fd, frame, got) < 0 && errno != EIO))
                    break;
            }
    return 1;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static int blast(char **args)
{
    unsigned char frame[60] = {0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0x77, 0x88, 0xb5};
    struct sockaddr_ll there = {.sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(args[0])};
    struct iovec piece = {frame, sizeof frame};
    struct mmsghdr messages[BATCH];
    unsigned mac[6];
    unsigned long sent = 0;
    int fd = socket(AF_PACKET, SOCK_RAW, 0);
    double begin = now(), seconds = atof(args[2]);
    if (fd < 0 || bind(fd, (void *)&there, sizeof there) ||
        sscanf(args[1], "%x:%x:%x:%x:%x:%x", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) != 6) {
        perror(args[0]);
        return 1;
    }
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < 6; i++)
        frame[i] = mac[i];
    for (int i = 0; i < BATCH; i++) {
        messages[i].msg_hdr.msg_iov = &piece;
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    while (now() - begin < seconds) {
        int done = sendmmsg(fd, messages, BATCH, 0);
        if (done > 0)
            sent += done;
    }
    printf("{\"sent\": %.0f, \"seconds\": %.3f}\n", (double)sent, now() - begin);
    return 0;
}

int main(int count, char **args)
{
    if (count == 5 && !strcmp(args[1], "loop"))
        return loop(args + 2);
    if (count == 5 && !strcmp(args[1], "blast"))
        return blast(args + 2);
    fputs("tap_tools loop OFFLOAD A B | blast IF DSTMAC SECONDS\n", stderr);
    return 2;
}
