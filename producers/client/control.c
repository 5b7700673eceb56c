#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "schemas/codec/address.h"
#include "producers/client/link.h"
#include "sluice/producer.h"

size_t sluice_url_default(char *buffer, size_t buffer_len)
{
    return address_default(buffer, buffer_len);
}

/* One command on a link of its own. */
struct asking {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool up, answered;
    struct sluice_error failure;    /* code SLUICE_OK: none */
    struct link *link;
    struct link_call call;
    nng_msg *reply;
};

static void asking_up(void *user, const struct wire_limits *limits)
{
    struct asking *asking = user;

    (void)limits; /* of publishing */
    pthread_mutex_lock(&asking->mutex);
    asking->up = true;
    pthread_cond_signal(&asking->changed);
    pthread_mutex_unlock(&asking->mutex);
}

static void asking_failed(void *user, const struct sluice_error *why)
{
    struct asking *asking = user;

    pthread_mutex_lock(&asking->mutex);
    asking->failure = *why;
    pthread_cond_signal(&asking->changed);
    pthread_mutex_unlock(&asking->mutex);
}

/* `answered` follows. */
static void asking_down(void *user)
{
    (void)user;
}

static void asking_answered(struct link_call *call, nng_msg *reply)
{
    struct asking *asking = call->user;

    pthread_mutex_lock(&asking->mutex);
    asking->reply = reply;
    asking->answered = true;
    pthread_cond_signal(&asking->changed);
    pthread_mutex_unlock(&asking->mutex);
}

/* Waits for `*flag` or a failure. false: the deadline passed. */
static bool wait_for(struct asking *asking, const bool *flag, const struct timespec *deadline)
{
    int err = 0;

    pthread_mutex_lock(&asking->mutex);
    while (!*flag && asking->failure.code == SLUICE_OK && err == 0)
        err = deadline == NULL ? pthread_cond_wait(&asking->changed, &asking->mutex)
                               : pthread_cond_timedwait(&asking->changed, &asking->mutex, deadline);
    bool in_time = *flag || asking->failure.code != SLUICE_OK;
    pthread_mutex_unlock(&asking->mutex);
    return in_time;
}

static enum sluice_err ask(struct asking *asking, const struct timespec *deadline, struct sluice_error *reterr)
{
    static const char late[] = "no answer from the daemon in time";

    if (!wait_for(asking, &asking->up, deadline))
        return sluice_fail(reterr, SLUICE_ETIMEDOUT, "%s", late);
    if (asking->failure.code != SLUICE_OK)
        return sluice_fail(reterr, asking->failure.code, "%s", asking->failure.text);
    if (!link_send(asking->link, &asking->call))
        return sluice_fail(reterr, SLUICE_EUNAVAILABLE, "the daemon hung up");
    if (!wait_for(asking, &asking->answered, deadline))
        return sluice_fail(reterr, SLUICE_ETIMEDOUT, "%s; it may still run the command", late);
    if (asking->reply == NULL)
        return sluice_fail(reterr, SLUICE_EUNAVAILABLE, "the daemon hung up before it answered; it may have run the command");
    return SLUICE_OK;
}

static enum sluice_err take_result(nng_msg *reply, char **ret_result, struct sluice_error *reterr)
{
    struct view text;

    enum sluice_err err =
        wire_read_control((struct view){ .data = nng_msg_body(reply), .len = nng_msg_len(reply) }, &text, reterr);
    if (err != SLUICE_OK)
        return err;
    char *result = malloc(text.len + 1);
    if (result == NULL)
        return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory for a result of %zu bytes", text.len);
    if (text.len > 0)
        memcpy(result, text.data, text.len);
    result[text.len] = '\0';
    *ret_result = result;
    return SLUICE_OK;
}

static enum sluice_err ask_on_link(struct asking *asking, const char *url, int timeout_ms, struct sluice_error *reterr)
{
    const struct link_watch watch = { .up = asking_up, .down = asking_down, .failed = asking_failed, .user = asking };
    struct timespec deadline;

    (void)clock_gettime(CLOCK_REALTIME, &deadline); /* cannot fail with this clock, which is that of plain condition variables */
    deadline.tv_sec += timeout_ms / 1000;
    deadline.tv_nsec += timeout_ms % 1000 * 1000000L;
    if (deadline.tv_nsec >= 1000000000L) {
        deadline.tv_nsec -= 1000000000L;
        deadline.tv_sec++;
    }
    (void)pthread_mutex_init(&asking->mutex, NULL); /* plain ones: cannot fail */
    (void)pthread_cond_init(&asking->changed, NULL);
    enum sluice_err err = link_open(&(struct link_options){ .url = url }, &watch, &asking->link, reterr);
    if (err == SLUICE_OK) {
        err = ask(asking, timeout_ms < 0 ? NULL : &deadline, reterr);
        link_close(asking->link);
    }
    pthread_cond_destroy(&asking->changed);
    pthread_mutex_destroy(&asking->mutex);
    return err;
}

enum sluice_err sluice_control(const char *url, const char *command, const char *arguments, int timeout_ms, char **ret_result,
                               struct sluice_error *reterr)
{
    struct asking asking = { .call = { .done = asking_answered, .user = &asking } };
    struct bytes request = { 0 };
    char own_url[LINK_URL_BYTES_MAX];

    if (url == NULL && sluice_url_default(own_url, sizeof own_url) < sizeof own_url)
        url = own_url;
    if (url != NULL && strncmp(url, "ipc:", 4) != 0 && strncmp(url, "abstract:", 9) != 0)
        return sluice_fail(reterr, SLUICE_EINVAL, "control of %.150s: only over ipc, on the daemon's own machine", url);
    wire_put_control(&request, command, view_of(arguments != NULL ? arguments : "{}"));
    if (request.failed)
        return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory for a command");
    asking.call.parts[0] = bytes_view(&request);
    enum sluice_err err = ask_on_link(&asking, url, timeout_ms, reterr);
    if (err == SLUICE_OK)
        err = take_result(asking.reply, ret_result, reterr);
    if (asking.reply != NULL)
        nng_msg_free(asking.reply);
    bytes_done(&request);
    return err;
}
