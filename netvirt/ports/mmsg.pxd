# What is handed to sendmsg(), sendmmsg() and recvmmsg(): the kernel's structures, for every compiled port on a socket.
cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len

cdef extern from "<sys/socket.h>" nogil:
    struct msghdr:
        void *msg_name
        unsigned int msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
        int msg_flags
    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    int c_recvmmsg "recvmmsg"(int fd, mmsghdr *messages, unsigned int count, int flags, void *timeout)
    int c_sendmmsg "sendmmsg"(int fd, mmsghdr *messages, unsigned int count, int flags)
    int MSG_DONTWAIT
    int MSG_NOSIGNAL
    int MSG_TRUNC
