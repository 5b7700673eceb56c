/* attach.c - a consumer daemon's place with the daemon: asked for on every new connection, for ever. See runner.h for its states. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "consumers/sdk/runner.h"

enum {
    PAUSE_MS_FIRST = 100,       /* after a refusal; twice as long each time */
    PAUSE_MS_LAST = 5000,
};

/* ---- the messages ---- */

static void put_attach(const struct attachment *attachment, struct bytes *out)
{
    mpack_put_array(out, 5);
    mpack_put_uint(out, PROTOCOL_VERSION);
    mpack_put_uint(out, CALL_ATTACH);
    mpack_put_str(out, view_of(attachment->function));
    mpack_put_str(out, view_of(attachment->consumer));
    mpack_put_uint(out, attachment->concurrency);
}

bool attach_put_leave(const struct runner *runner, struct bytes *out)
{
    if (runner->attachment.state == ATTACH_UNUSED) {
        sdk_put_next(out, runner->instance, 0, (struct view){ 0 });
        return true;
    }
    if (runner->attachment.state != ATTACH_ON)
        return false;
    mpack_put_array(out, 3);
    mpack_put_uint(out, PROTOCOL_VERSION);
    mpack_put_uint(out, CALL_DETACH);
    mpack_put_str(out, view_of(runner->instance));
    return true;
}

static enum sluice_err read_attached(struct runner *runner, nng_msg *reply, struct sluice_error *reterr)
{
    struct attachment *attachment = &runner->attachment;
    struct wire_head head;
    struct view instance;
    uint64_t concurrency, batch_size;

    enum sluice_err err = wire_read_head((struct view){ .data = nng_msg_body(reply), .len = nng_msg_len(reply) }, &head, reterr);
    if (err != SLUICE_OK)
        return err;
    if (head.code != SLUICE_OK)
        return wire_refusal(&head, "`attach`", reterr);
    if (head.items < 7 || !mpack_read_str(&head.rest, &instance) || instance.len == 0 || instance.len >= sizeof attachment->instance ||
        !mpack_read_uint(&head.rest, UINT32_MAX, &concurrency) || concurrency == 0 ||
        !mpack_read_uint(&head.rest, NEXT_EVENTS_MAX, &batch_size) || batch_size == 0)
        return sluice_fail(reterr, SLUICE_EPROTO, "the daemon's answer to `attach` is broken");
    (void)snprintf(attachment->instance, sizeof attachment->instance, "%.*s", VIEW_ARGS(instance));
    runner->concurrency = concurrency > CONCURRENCY_MAX ? CONCURRENCY_MAX : (unsigned)concurrency;
    runner->batch_size = (unsigned)batch_size;
    return SLUICE_OK;
}

/* ---- for the others ---- */

void attach_say(struct runner *runner, const char *why)
{
    struct attachment *attachment = &runner->attachment;

    if (attachment->state == ATTACH_UNUSED || strcmp(attachment->said, why) == 0)
        return;
    (void)snprintf(attachment->said, sizeof attachment->said, "%s", why);
    (void)fprintf(stderr, "sluice: function '%s': not attached, trying again: %s\n", attachment->function, why);
}

bool attach_may_ask(const struct runner *runner, const struct worker *worker)
{
    switch (runner->attachment.state) {
    case ATTACH_UNUSED: return true;
    case ATTACH_PAUSING:
    case ATTACH_ASKING: return false;
    case ATTACH_ON: return worker->result.len > 0 || worker->index < runner->concurrency;
    case ATTACH_OVER: return worker->result.len > 0;
    }
    return false;
}

/* Whatever was leased is others' now. */
static void attach_end(struct runner *runner, int64_t again_ms)
{
    runner->attachment.generation++;
    runner->attachment.again_ms = again_ms;
    runner->attachment.state = ATTACH_PAUSING;
    pthread_cond_broadcast(&runner->changed);
}

void attach_lost(struct runner *runner)
{
    struct attachment *attachment = &runner->attachment;

    switch (attachment->state) {
    case ATTACH_UNUSED:
    case ATTACH_PAUSING:
        break;
    case ATTACH_ASKING: /* the call's end comes after this; an answer that came before it is void */
        if (attachment->reply != NULL)
            nng_msg_free(attachment->reply);
        attachment->reply = NULL;
        break;
    case ATTACH_ON:
    case ATTACH_OVER:
        attach_say(runner, "the connection was lost");
        attach_end(runner, 0);
        break;
    }
}

bool attach_over(struct runner *runner, unsigned generation)
{
    pthread_mutex_lock(&runner->mutex);
    struct attachment *attachment = &runner->attachment;
    bool used = attachment->state != ATTACH_UNUSED;
    if (attachment->state == ATTACH_ON && attachment->generation == generation)
        attachment->state = ATTACH_OVER;
    pthread_mutex_unlock(&runner->mutex);
    return used;
}

/* ---- the main thread's part ---- */

static void attach_answered(struct link_call *call, nng_msg *reply)
{
    struct runner *runner = call->user;

    pthread_mutex_lock(&runner->mutex);
    runner->attachment.reply = reply;
    runner->attachment.answered = true;
    pthread_mutex_unlock(&runner->mutex);
    runner_wake(runner);
}

static void attach_ask(struct runner *runner)
{
    struct attachment *attachment = &runner->attachment;

    bytes_clear(&attachment->request);
    put_attach(attachment, &attachment->request);
    attachment->call = (struct link_call){ .parts = { bytes_view(&attachment->request) }, .done = attach_answered, .user = runner };
    attachment->answered = false;
    if (!attachment->request.failed && link_send(runner->link, &attachment->call))
        attachment->state = ATTACH_ASKING;
}

static void attach_take_answer(struct runner *runner, int64_t now_ms)
{
    struct attachment *attachment = &runner->attachment;
    struct sluice_error why = { .code = SLUICE_EUNAVAILABLE };
    nng_msg *reply = attachment->reply;

    attachment->reply = NULL;
    enum sluice_err err = reply == NULL ? SLUICE_EUNAVAILABLE : read_attached(runner, reply, &why);
    if (reply != NULL)
        nng_msg_free(reply);
    if (err == SLUICE_OK) {
        attachment->state = ATTACH_ON;
        attachment->pause_ms = PAUSE_MS_FIRST;
        attachment->said[0] = '\0';
        runner->instance = attachment->instance;
        pthread_cond_broadcast(&runner->changed);
        (void)fprintf(stderr, "sluice: function '%s': attached as instance %s, %u at once\n", attachment->function, attachment->instance,
                      runner->concurrency);
        return;
    }
    if (reply != NULL)
        attach_say(runner, why.text);
    attachment->state = ATTACH_PAUSING;
    attachment->again_ms = reply == NULL ? 0 : now_ms + attachment->pause_ms;
    attachment->pause_ms = attachment->pause_ms * 2 > PAUSE_MS_LAST ? PAUSE_MS_LAST : attachment->pause_ms * 2;
}

int64_t attach_turn(struct runner *runner, int64_t now_ms)
{
    struct attachment *attachment = &runner->attachment;

    if (attachment->state == ATTACH_ASKING && attachment->answered)
        attach_take_answer(runner, now_ms);
    /* The last request of this instance is answered: its connection may carry another. */
    if (attachment->state == ATTACH_OVER && runner->waiting == runner->running)
        attach_end(runner, now_ms + attachment->pause_ms);
    if (attachment->state != ATTACH_PAUSING || !runner->up || runner->leaving)
        return -1;
    if (attachment->again_ms > now_ms)
        return attachment->again_ms - now_ms;
    attach_ask(runner);
    return attachment->state == ATTACH_ASKING ? -1 : PAUSE_MS_FIRST; /* the connection is going down, and `up` will wake us; or no memory */
}

/* ---- life ---- */

static void consumer_name(char buffer[ATTACH_CONSUMER_BYTES_MAX + 1])
{
    char host[64] = "host";

    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(buffer, ATTACH_CONSUMER_BYTES_MAX + 1, "%.40s@%s:%ld", program_invocation_short_name, host, (long)getpid());
    for (char *at = buffer; *at != '\0'; at++) { /* what programs and hosts are called beside the daemon's alphabet */
        bool plain = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || (*at >= '0' && *at <= '9');
        if (!plain && strchr("._-@:/+", *at) == NULL)
            *at = '-';
    }
}

bool attach_open(struct runner *runner, const struct sluice_attach *options, struct sluice_error *reterr)
{
    struct attachment *attachment = &runner->attachment;
    const char *consumer = options->consumer != NULL ? options->consumer : getenv(SLUICE_ENV_CONSUMER);

    attachment->function = options->function != NULL ? options->function : getenv(SLUICE_ENV_FUNCTION);
    if (attachment->function == NULL || attachment->function[0] == '\0') {
        (void)sluice_fail(reterr, SLUICE_EINVAL, "no function to attach to: name one of the daemon's configuration, in %s",
                          SLUICE_ENV_FUNCTION);
        return false;
    }
    if (consumer == NULL || consumer[0] == '\0') {
        consumer_name(attachment->consumer);
    } else if (strlen(consumer) > ATTACH_CONSUMER_BYTES_MAX) {
        (void)sluice_fail(reterr, SLUICE_EINVAL, "the consumer's name '%.40s...' is too long: at most %d bytes", consumer,
                          ATTACH_CONSUMER_BYTES_MAX);
        return false;
    } else {
        (void)snprintf(attachment->consumer, sizeof attachment->consumer, "%s", consumer);
    }
    attachment->concurrency = options->concurrency;
    if (attachment->concurrency > CONCURRENCY_MAX) {
        (void)sluice_fail(reterr, SLUICE_EINVAL, "concurrency %u: at most %d", attachment->concurrency, CONCURRENCY_MAX);
        return false;
    }
    if (attachment->concurrency == 0 && !runner_number(SLUICE_ENV_CONCURRENCY, CONCURRENCY_MAX, &attachment->concurrency, reterr))
        return false;
    attachment->pause_ms = PAUSE_MS_FIRST;
    attachment->state = ATTACH_PAUSING;
    runner->url = options->url;
    runner->concurrency = 0; /* until the daemon has said */
    return true;
}

void attach_done(struct runner *runner)
{
    if (runner->attachment.reply != NULL)
        nng_msg_free(runner->attachment.reply);
    bytes_done(&runner->attachment.request);
}
