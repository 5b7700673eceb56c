#include <nng/nng.h>
#include <stdio.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "producers/client/link.h"
#include "schemas/codec/address.h"
#include "sluice/producer.h"

size_t sluice_url_default(char *buffer, size_t buffer_len)
{
    return address_default(buffer, buffer_len);
}

/* Sends `request` and receives its reply, owned by the caller. Consumes nothing. */
static enum sluice_err ask(nng_socket socket, const char *url, const struct bytes *request, nng_msg **ret_reply,
                           struct sluice_error *reterr)
{
    nng_msg *msg;
    int rv;

    if (request->failed || nng_msg_alloc(&msg, 0) != 0)
        return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory for a request");
    if ((rv = nng_msg_append(msg, request->data, request->len)) != 0 || (rv = nng_sendmsg(socket, msg, 0)) != 0) {
        nng_msg_free(msg);
        return link_nng_error(rv, "cannot ask the daemon", url, reterr);
    }
    rv = nng_recvmsg(socket, ret_reply, 0);
    return rv == 0 ? SLUICE_OK : link_nng_error(rv, "no answer from the daemon", url, reterr);
}

static struct view message_view(nng_msg *msg)
{
    return (struct view){ .data = nng_msg_body(msg), .len = nng_msg_len(msg) };
}

static enum sluice_err say_hello(nng_socket socket, const char *url, struct bytes *request, struct sluice_error *reterr)
{
    struct wire_limits limits;
    nng_msg *reply;

    wire_put_hello(request, program_invocation_short_name, NULL);
    enum sluice_err err = ask(socket, url, request, &reply, reterr);
    if (err != SLUICE_OK)
        return err;
    err = wire_read_hello(message_view(reply), &limits, reterr);
    nng_msg_free(reply);
    return err;
}

static enum sluice_err run_command(nng_socket socket, const char *url, struct bytes *request, const char *command,
                                   const char *arguments, char **ret_result, struct sluice_error *reterr)
{
    struct view text;
    nng_msg *reply;

    bytes_clear(request);
    wire_put_control(request, command, view_of(arguments));
    enum sluice_err err = ask(socket, url, request, &reply, reterr);
    if (err != SLUICE_OK)
        return err;
    err = wire_read_control(message_view(reply), &text, reterr);
    if (err == SLUICE_OK) {
        char *result = malloc(text.len + 1);
        if (result == NULL) {
            err = sluice_fail(reterr, SLUICE_ENOMEM, "out of memory for a result of %zu bytes", text.len);
        } else {
            if (text.len > 0)
                memcpy(result, text.data, text.len);
            result[text.len] = '\0';
            *ret_result = result;
        }
    }
    nng_msg_free(reply);
    return err;
}

enum sluice_err sluice_control(const char *url_option, const char *command, const char *arguments, int timeout_ms, char **ret_result,
                               struct sluice_error *reterr)
{
    char url[LINK_URL_BYTES_MAX];
    struct bytes request = { 0 };
    nng_socket socket;

    enum sluice_err err = link_url(url_option, url, reterr);
    if (err != SLUICE_OK)
        return err;
    if (strncmp(url, "tcp", 3) == 0 || strncmp(url, "tls", 3) == 0)
        return sluice_fail(reterr, SLUICE_EINVAL, "control of %s: only over ipc, on the daemon's own machine", url);
    if ((err = link_socket_open(&socket, reterr)) != SLUICE_OK)
        return err;
    nng_duration timeout = timeout_ms < 0 ? NNG_DURATION_INFINITE : timeout_ms;
    (void)nng_socket_set_ms(socket, NNG_OPT_SENDTIMEO, timeout); /* every socket knows these two */
    (void)nng_socket_set_ms(socket, NNG_OPT_RECVTIMEO, timeout);
    int rv = nng_dial(socket, url, NULL, 0);
    if (rv == NNG_ECONNREFUSED || rv == NNG_ENOENT)
        err = sluice_fail(reterr, SLUICE_EUNAVAILABLE, "no daemon answers at %s; is sluiced running, and is this its first 'listen.bus'?", url);
    else if (rv != 0)
        err = link_nng_error(rv, "cannot reach the daemon", url, reterr);
    if (err == SLUICE_OK)
        err = say_hello(socket, url, &request, reterr);
    if (err == SLUICE_OK)
        err = run_command(socket, url, &request, command, arguments != NULL ? arguments : "{}", ret_result, reterr);
    (void)nng_close(socket); /* all that was asked is answered or given up */
    bytes_done(&request);
    return err;
}
