/*
 * An HTTP load client: one thread, epoll, keep-alive connections, latencies in microseconds.
 *
 *     load HOST PORT CONNECTIONS SECONDS RATE FILE [NUMBER]
 *
 * FILE holds one complete request, or NUMBER requests of equal length. Each of them is sent once, and the
 * client ends after the last. If NUMBER is negative, its absolute value is the number of requests in FILE,
 * and they are sent again and again.
 *
 * RATE 0 is a closed loop: each connection sends its next request as soon as the last one is answered.
 * A positive RATE is an open loop: RATE requests per second are due at even intervals, whatever the server
 * does, and a latency counts from the moment when the request was due, not when a connection was free.
 * So a server that stalls does not look better than it is. With a negative RATE latencies count from the
 * moment of sending, for a load beyond the capacity of the server. The common tools have no open loop, or
 * cannot hold a steady rate over many connections.
 *
 * Prints one line of JSON. "by_quarter_p99_ms" has the 99th percentile of each quarter of a second with
 * answers. "unanswered_ms" is the age of the oldest request without an answer. Exits with status 1 if it
 * cannot connect.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 16384, MAX_LATENCIES = 40000000 };

struct connection {
    int fd;
    int busy;
    double due;
    size_t have;
    char *buffer;
};

static struct sockaddr_in server;
static char *request;
static size_t request_length, of_file, number, sent;
static int epoll;
static uint32_t *latencies, *of_ok, *of_refused;
static uint16_t *quarters;
static double began;
static size_t count, ok, faults, refused, failed, reopened;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static int open_one(struct connection *c)
{
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    c->busy = 0;
    c->have = 0;
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&server, sizeof server) < 0)
        return -1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
}

static void reopen(struct connection *c)
{
    close(c->fd);
    reopened++;
    if (open_one(c) < 0) {
        perror("load: connect");
        exit(1);
    }
}

static void ask(struct connection *c, double due)
{
    c->busy = 1;
    c->due = due;
    c->have = 0;
    char *next = request + sent % of_file * request_length;
    sent++;
    if (write(c->fd, next, request_length) != (ssize_t)request_length) {
        failed++;
        reopen(c);
    }
}

/* Return the length of the answer in the buffer, or 0 if it is incomplete. */
static size_t answer_length(struct connection *c)
{
    char *end = memmem(c->buffer, c->have, "\r\n\r\n", 4);
    if (!end)
        return 0;
    size_t head = end + 4 - c->buffer;
    for (char *line = c->buffer; line < end;) {
        if (!strncasecmp(line, "content-length:", 15)) {
            size_t whole = head + strtoul(line + 15, NULL, 10);
            return whole <= c->have ? whole : 0;
        }
        if (!strncasecmp(line, "transfer-encoding:", 18))
            return c->have >= head + 5 && !memcmp(c->buffer + c->have - 5, "0\r\n\r\n", 5)
                ? c->have : 0;
        line = (char *)memchr(line, '\n', end + 2 - line) + 1;
    }
    return head;
}

static void take_answer(struct connection *c)
{
    double t = now();
    uint32_t latency = (t - c->due) * 1e6;
    if (count < MAX_LATENCIES) {
        quarters[count] = (t - began) * 4;
        latencies[count++] = latency;
    }
    if (!memcmp(c->buffer + 9, "200", 3))
        of_ok[ok++] = latency;
    else if (!memcmp(c->buffer + 9, "500", 3))
        faults++;
    else if (!memcmp(c->buffer + 9, "503", 3))
        of_refused[refused++] = latency;
    else
        failed++;
    c->busy = 0;
    c->have = 0;
}

/* Return whether the connection has become free. */
static int readable(struct connection *c)
{
    ssize_t got = read(c->fd, c->buffer + c->have, BUFFER - c->have);
    if (got <= 0) {
        if (got < 0 && errno == EAGAIN)
            return 0;
        int was_busy = c->busy;
        failed += was_busy;
        reopen(c);
        return was_busy; /* otherwise it is in the list of free connections already */
    }
    c->have += got;
    if (!c->busy || !answer_length(c))
        return 0;
    take_answer(c);
    return 1;
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double quantile_of(uint32_t *sorted, size_t number, double q)
{
    return number ? sorted[(size_t)(q * (number - 1))] / 1e3 : 0;
}

static double quantile(double q)
{
    return quantile_of(latencies, count, q);
}

/* Call it before the latencies are sorted: it needs them in the order of the answers. */
static void print_quarters(void)
{
    printf("{\"by_quarter_p99_ms\": [");
    for (size_t from = 0, to; from < count; from = to) {
        for (to = from; to < count && quarters[to] == quarters[from]; to++)
            ;
        uint32_t *some = malloc((to - from) * sizeof *some);
        memcpy(some, latencies + from, (to - from) * sizeof *some);
        qsort(some, to - from, sizeof *some, compare);
        printf("%s%.1f", from ? ", " : "", quantile_of(some, to - from, 0.99));
        free(some);
    }
    printf("], ");
}

int main(int argc, char **argv)
{
    if (argc != 7 && argc != 8) {
        fprintf(stderr, "load HOST PORT CONNECTIONS SECONDS RATE FILE [NUMBER]\n");
        return 2;
    }
    server.sin_family = AF_INET;
    server.sin_addr.s_addr = inet_addr(argv[1]);
    server.sin_port = htons(atoi(argv[2]));
    size_t connections = atoi(argv[3]);
    double seconds = atof(argv[4]), rate = atof(argv[5]);
    int from_sending = rate < 0;
    rate = from_sending ? -rate : rate;
    FILE *file = fopen(argv[6], "rb");
    if (!file) {
        perror("load: request");
        return 1;
    }
    long given = argc == 8 ? atol(argv[7]) : -1;
    number = given > 0 ? given : 0;
    of_file = labs(given);
    fseek(file, 0, SEEK_END);
    request_length = ftell(file);
    rewind(file);
    request = malloc(request_length);
    if (fread(request, 1, request_length, file) != request_length)
        return 1;
    request_length /= of_file;
    fclose(file);
    latencies = malloc((size_t)MAX_LATENCIES * sizeof *latencies);
    of_ok = malloc((size_t)MAX_LATENCIES * sizeof *of_ok);
    of_refused = malloc((size_t)MAX_LATENCIES * sizeof *of_refused);
    quarters = malloc((size_t)MAX_LATENCIES * sizeof *quarters);
    epoll = epoll_create1(0);
    struct connection *all = calloc(connections, sizeof *all);
    struct connection **idle = malloc(connections * sizeof *idle);
    struct epoll_event events[256];
    size_t free_ones = 0;
    for (size_t i = 0; i < connections; i++) {
        all[i].buffer = malloc(BUFFER);
        if (open_one(&all[i]) < 0) {
            perror("load: connect");
            return 1;
        }
        idle[free_ones++] = &all[i];
    }
    /* The measurement does not include the setup of the connections. */
    if (rate)
        usleep(connections * 250);
    double begin = began = now(), end = begin + seconds, next = begin;
    for (;;) {
        double t = now();
        if (t >= end || (number && count + failed >= number))
            break;
        while (free_ones && (!number || sent < number) && (rate == 0 || next <= t)) {
            struct connection *c = idle[--free_ones];
            ask(c, rate == 0 || from_sending ? now() : next);
            if (!c->busy)
                idle[free_ones++] = c;
            next += rate == 0 ? 0 : 1 / rate;
        }
        double left = (rate == 0 || !free_ones ? end : next < end ? next : end) - t;
        /* Wake up half a millisecond early; busy waiting covers the rest. */
        int wait = left > 0.0015 ? (int)(left * 1e3 - 0.5) : 0;
        int ready = epoll_wait(epoll, events, 256, rate == 0 ? 100 : wait);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (readable(c))
                idle[free_ones++] = c;
        }
    }
    double lasted = now() - begin;
    size_t behind = rate == 0 ? 0 : next < end ? (size_t)((end - next) * rate) : 0;
    double oldest = 0;
    for (size_t i = 0; i < connections; i++)
        if (all[i].busy && now() - all[i].due > oldest)
            oldest = now() - all[i].due;
    print_quarters();
    qsort(of_ok, ok, sizeof *of_ok, compare);
    qsort(of_refused, refused, sizeof *of_refused, compare);
    qsort(latencies, count, sizeof *latencies, compare);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("\"ok_p50_ms\": %.3f, \"ok_p99_ms\": %.3f, \"ok_max_ms\": %.3f, \"put_off_p99_ms\": %.3f, "
           "\"put_off_max_ms\": %.3f, \"unanswered_ms\": %.3f, ",
           quantile_of(of_ok, ok, 0.5), quantile_of(of_ok, ok, 0.99), quantile_of(of_ok, ok, 1),
           quantile_of(of_refused, refused, 0.99), quantile_of(of_refused, refused, 1), oldest * 1e3);
    printf("\"requests\": %zu, \"seconds\": %.3f, \"rate\": %.1f, \"ok\": %zu, \"faults\": %zu, \"put_off\": %zu, "
           "\"failed\": %zu, \"reopened\": %zu, \"never_sent\": %zu, \"p50_ms\": %.3f, "
           "\"p99_ms\": %.3f, \"p999_ms\": %.3f, \"max_ms\": %.3f, \"client_cpu_s\": %.3f}\n",
           count, lasted, count / lasted, ok, faults, refused, failed, reopened, behind, quantile(0.5),
           quantile(0.99), quantile(0.999), quantile(1),
           usage.ru_utime.tv_sec + usage.ru_utime.tv_usec / 1e6 + usage.ru_stime.tv_sec
               + usage.ru_stime.tv_usec / 1e6);
    return 0;
}
