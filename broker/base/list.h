/* list.h - a circular doubly linked list embedded in its members. A list head is a link that points to itself when empty. */
#ifndef SLUICE_BASE_LIST_H
#define SLUICE_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *previous;
};

#define LIST_OWNER(link, type, member) ((type *)(void *)((char *)(link) - offsetof(type, member)))
/* NOLINTNEXTLINE(bugprone-macro-parentheses): `at` is declared here, and a declared name stands without parentheses */
#define LIST_EACH(at, head) for (struct list *at = (head)->next, *at##_next = at->next; at != (head); at = at##_next, at##_next = at->next)

static inline void list_init(struct list *link) { link->next = link->previous = link; }
static inline bool list_empty(const struct list *link) { return link->next == link; } /* of a member: in no list */
static inline void list_insert_after(struct list *at, struct list *link)
{
    link->next = at->next;
    link->previous = at;
    at->next->previous = link;
    at->next = link;
}
static inline void list_push(struct list *head, struct list *link) { list_insert_after(head->previous, link); } /* at the end */
static inline void list_remove(struct list *link)
{
    link->previous->next = link->next;
    link->next->previous = link->previous;
    list_init(link);
}

#endif
