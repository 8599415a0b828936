/* The C floor: a runtime that does nothing but speak, one writev for each message. cc -O2 -o floor floor.c */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static int sock;

static void all(struct iovec *parts, int count) {
    while (count) {
        ssize_t taken = writev(sock, parts, count);
        if (taken < 0) exit(1);
        while (count && (size_t)taken >= parts->iov_len) {
            taken -= parts->iov_len;
            parts++;
            count--;
        }
        if (count) {
            parts->iov_base = (char *)parts->iov_base + taken;
            parts->iov_len -= taken;
        }
    }
}

static void text(const char *data) {
    struct iovec part = {(void *)data, strlen(data)};
    all(&part, 1);
}

static void chunk(const char *data, size_t length) {
    char size[24];
    int digits = snprintf(size, sizeof size, "%zx\r\n", length);
    struct iovec parts[3] = {{size, digits}, {(void *)data, length}, {"\r\n", 2}};
    all(parts, 3);
}

static char buffer[1 << 20];

/* Reads a head and as much of its body as it announces; returns the body. */
static char *reply(void) {
    size_t have = 0;
    char *body = NULL;
    for (;;) {
        ssize_t got = recv(sock, buffer + have, sizeof buffer - have - 1, 0);
        if (got <= 0) exit(0);
        have += got;
        buffer[have] = 0;
        if (!body && (body = strstr(buffer, "\r\n\r\n"))) body += 4;
        if (body) {
            char *length = strstr(buffer, "Content-Length: ");
            if (!length || (size_t)(buffer + have - body) >= strtoul(length + 16, NULL, 10)) return body;
        }
    }
}

int main(void) {
    char host[64], head[512], message[32], prelude[128];
    char *api = getenv("AWS_LAMBDA_RUNTIME_API"), *colon = strrchr(api, ':'), *large = malloc(65536);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(colon + 1))};
    snprintf(host, sizeof host, "%.*s", (int)(colon - api), api);
    inet_pton(AF_INET, host, &address.sin_addr);
    sock = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(sock, (struct sockaddr *)&address, sizeof address)) return 1;
    setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    memset(large, 'y', 65536);
    memset(message, 'x', 31);
    message[31] = '\n';
    int length = snprintf(prelude, sizeof prelude, "{\"statusCode\":200,\"headers\":{\"content-type\":\"text/plain\"}}");
    memset(prelude + length, 0, 8);
    for (;;) {
        text("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n");
        char *body = reply(), id[64], name[32] = "", *at = strcasestr(buffer, "Request-Id: ") + 12;
        long count = 1;
        snprintf(id, sizeof id, "%.*s", (int)strcspn(at, "\r"), at);
        char *path = strstr(body, "\"rawPath\"");
        sscanf(strchr(path + 9, '/'), "/%31[a-z]/%ld", name, &count);
        snprintf(head, sizeof head,
                 "POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: x\r\n"
                 "Content-Type: application/vnd.awslambda.http-integration-response\r\n"
                 "Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n\r\n", id);
        text(head);
        chunk(prelude, length + 8);
        if (!strcmp(name, "hello")) {
            const char *hello = "{\"message\":\"Hello from the benchmark\"}";
            chunk(hello, strlen(hello));
        } else {
            for (long number = 0; number < count; number++) {
                if (!strcmp(name, "spaced")) {
                    struct timespec now;
                    nanosleep(&(struct timespec){0, 2000000}, NULL);
                    clock_gettime(CLOCK_MONOTONIC, &now);
                    char stamp[64];
                    snprintf(stamp, sizeof stamp, "%-31lld\n", now.tv_sec * 1000000000LL + now.tv_nsec);
                    chunk(stamp, 32);
                } else if (!strcmp(name, "bulk")) chunk(large, 65536);
                else chunk(message, 32);
            }
        }
        text("0\r\n\r\n");
        reply();
    }
}
