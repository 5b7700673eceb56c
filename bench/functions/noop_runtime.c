/* A resident Lambda function that does nothing, by the Runtime API alone: one kept connection, next and response in turn. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

static char input[1 << 20];
static size_t input_len;

static void must(int ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    exit(1);
}

static void send_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t sent = write(fd, bytes, len);
        must(sent > 0, "write");
        bytes += sent;
        len -= (size_t)sent;
    }
}

/* One answer with a Content-Length; its value of `Lambda-Runtime-Aws-Request-Id` into id[64], if it has one. */
static void receive(int fd, char *id)
{
    char *end;

    while (input[input_len] = '\0', (end = strstr(input, "\r\n\r\n")) == NULL) {
        ssize_t got = read(fd, input + input_len, sizeof input - 1 - input_len);
        if (got <= 0)
            exit(0); /* the end of the function */
        input_len += (size_t)got;
    }
    size_t head = (size_t)(end + 4 - input), body = 0;
    for (char *line = strstr(input, "\r\n"); line != NULL && line < end; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, "Content-Length:", 15) == 0)
            body = strtoul(line + 17, NULL, 10);
        else if (strncasecmp(line + 2, "Lambda-Runtime-Aws-Request-Id:", 30) == 0)
            must(sscanf(line + 32, " %63[^\r ]", id) == 1, "request id");
    }
    must(head + body < sizeof input, "answer too long");
    while (input_len < head + body) {
        ssize_t got = read(fd, input + input_len, sizeof input - 1 - input_len);
        if (got <= 0)
            exit(0);
        input_len += (size_t)got;
    }
    input_len -= head + body;
    memmove(input, input + head + body, input_len);
}

int main(void)
{
    const char *api = getenv("AWS_LAMBDA_RUNTIME_API"), *colon = api == NULL ? NULL : strchr(api, ':');
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    char request[512], id[64];
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

    must(colon != NULL, "AWS_LAMBDA_RUNTIME_API");
    address.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    must(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0, "connect");
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    for (;;) {
        int len = snprintf(request, sizeof request, "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: %s\r\n\r\n", api);
        send_all(fd, request, (size_t)len);
        id[0] = '\0';
        receive(fd, id);
        len = snprintf(request, sizeof request,
                       "POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: %s\r\nContent-Length: 2\r\n\r\n{}", id, api);
        send_all(fd, request, (size_t)len);
        receive(fd, id);
    }
}
