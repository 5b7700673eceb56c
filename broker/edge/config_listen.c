/* listen: where the daemon is spoken to. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "broker/edge/config_sections.h"
#include "broker/edge/yaml_values.h"

/* "127.0.0.1:4566", "[::1]:4566", "host:0" (a port the system chooses). */
static bool is_host_and_port(const char *text)
{
    const char *colon = strrchr(text, ':');
    long port = 0;

    if (colon == NULL || colon == text || colon[1] == '\0' || strlen(colon + 1) > 5)
        return false;
    for (const char *digit = colon + 1; *digit != '\0'; digit++) {
        if (*digit < '0' || *digit > '9')
            return false;
        port = port * 10 + (*digit - '0');
    }
    bool bracketed = text[0] == '[' && colon[-1] == ']';
    bool plain = memchr(text, ':', (size_t)(colon - text)) == NULL && strpbrk(text, "[]/ ") == NULL;
    return port <= 65535 && (bracketed || plain);
}

/* The URL as nng takes it, NULL after a mistake. */
static const char *listener_read(struct loader *loader, const struct yaml_file *file, const struct yaml_node *node, bool *tcp)
{
    static const char ipc[] = "ipc://", tcp_prefix[] = "tcp://";
    const size_t path_bytes_max = sizeof ((struct sockaddr_un *)NULL)->sun_path - 1;
    const char *url = NULL;

    if (!yaml_get_text(file, node, "listen.bus", 4095, loader->arena, &url))
        return NULL;
    if (strncmp(url, ipc, sizeof ipc - 1) == 0 && url[sizeof ipc - 1] != '\0') {
        const char *path = config_path(loader->arena, loader->folder, url + sizeof ipc - 1);
        if (strlen(path) > path_bytes_max) {
            yaml_mistake(file, node, "the path of an ipc address can be %zu bytes long; this one has %zu", path_bytes_max,
                         strlen(path));
            return NULL;
        }
        return arena_format(loader->arena, "ipc://%s", path);
    }
    if (strncmp(url, tcp_prefix, sizeof tcp_prefix - 1) == 0) {
        *tcp = true;
        if (is_host_and_port(url + sizeof tcp_prefix - 1))
            return url;
        yaml_mistake(file, node, "a tcp address is tcp://HOST:PORT, not '" YAML_SHOWN "'", YAML_SHOW(node));
        return NULL;
    }
    yaml_mistake(file, node, "'listen.bus' must begin with ipc:// or tcp://, not '" YAML_SHOWN "'", YAML_SHOW(node));
    return NULL;
}

static void listeners_read(struct loader *loader, const struct config_slot *slot, bool has_token)
{
    const struct yaml_node *node = slot->node;
    const struct yaml_node *item = node;
    uint32_t count = 1;

    if (node->kind == YAML_LIST) {
        item = yaml_first(node);
        count = node->count;
        if (count == 0 || count > CONFIG_LISTENERS_MAX) {
            yaml_mistake(slot->file, node, "'listen.bus' must have from 1 to %d addresses, not %u%s", CONFIG_LISTENERS_MAX, count,
                         count == 0 ? "; leave it out for the default" : "");
            return;
        }
    }
    const char **listeners = arena_zalloc(loader->arena, (count + 1) * sizeof *listeners);
    for (uint32_t i = 0; i < count; i++, item = yaml_next(item)) {
        bool tcp = false;
        listeners[i] = listener_read(loader, slot->file, item, &tcp);
        if (tcp && !has_token)
            yaml_mistake(slot->file, item, "a tcp address needs 'listen.token-file': anyone who reaches the port could publish");
        for (uint32_t j = 0; j < i; j++) {
            if (listeners[i] != NULL && listeners[j] != NULL && strcmp(listeners[i], listeners[j]) == 0)
                yaml_mistake(slot->file, item, "'%s' is there twice", listeners[i]);
        }
    }
    loader->config->bus_listeners = listeners;
}

static void token_file_read(struct loader *loader, const struct config_slot *slot)
{
    const char *path = NULL;
    struct stat info;

    if (!yaml_get_text(slot->file, slot->node, "listen.token-file", 4095, loader->arena, &path))
        return;
    path = config_path(loader->arena, loader->folder, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &info) != 0) {
        yaml_mistake(slot->file, slot->node, "'listen.token-file': %s cannot be read: %s", path, strerror(errno));
    } else if (!S_ISREG(info.st_mode)) {
        yaml_mistake(slot->file, slot->node, "'listen.token-file': %s is not a regular file", path);
    } else if ((info.st_mode & 077) != 0) {
        yaml_mistake(slot->file, slot->node, "'listen.token-file': %s is open to others; chmod 600 it", path);
    } else if (info.st_size == 0) {
        yaml_mistake(slot->file, slot->node, "'listen.token-file': %s is empty", path);
    }
    if (fd >= 0)
        (void)close(fd); /* only looked at */
    loader->config->token_file = path;
}

static bool is_host_name(const char *text)
{
    return strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") == strlen(text);
}

static void http_hosts_read(struct loader *loader, const struct yaml_file *file, const struct yaml_node *node)
{
    if (!yaml_expect(file, node, "listen.http-hosts", YAML_LIST))
        return;
    if (node->count > CONFIG_LISTENERS_MAX) {
        yaml_mistake(file, node, "'listen.http-hosts' must have at most %d names, not %u", CONFIG_LISTENERS_MAX, node->count);
        return;
    }
    const char **hosts = arena_zalloc(loader->arena, (node->count + 1) * sizeof *hosts);
    const struct yaml_node *item = yaml_first(node);
    for (uint32_t i = 0; i < node->count; i++, item = yaml_next(item)) {
        hosts[i] = "";
        if (yaml_get_text(file, item, "listen.http-hosts", 253, loader->arena, &hosts[i]) && !is_host_name(hosts[i]))
            yaml_mistake(file, item, "'listen.http-hosts': '" YAML_SHOWN "' is not the name of a host, without a port", YAML_SHOW(item));
    }
    loader->config->http_hosts = hosts;
}

void config_listen_read(struct loader *loader, const struct config_slot *bus, const struct config_slot *http,
                        const struct config_slot *http_hosts, const struct config_slot *token_file)
{
    static const char *const none[] = { NULL };
    const char *address = NULL;

    loader->config->bus_listeners = none;
    if (bus->node != NULL)
        listeners_read(loader, bus, token_file->node != NULL);
    if (token_file->node != NULL)
        token_file_read(loader, token_file);
    if (http_hosts->node != NULL)
        http_hosts_read(loader, http_hosts->file, http_hosts->node);
    if (http->node == NULL || !yaml_get_text(http->file, http->node, "listen.http", 255, loader->arena, &address))
        return;
    if (!is_host_and_port(address))
        yaml_mistake(http->file, http->node, "'listen.http' must be HOST:PORT like 127.0.0.1:4566, not '" YAML_SHOWN "'",
                     YAML_SHOW(http->node));
    else
        loader->config->http = address;
}
