/* assert.h - assertions run in release builds too: a broken invariant stops the daemon before it can lose an event. */
#ifndef SLUICE_BASE_ASSERT_H
#define SLUICE_BASE_ASSERT_H

_Noreturn void assert_failed(const char *expression, const char *file, int line);
#define ASSERT(expression) ((expression) ? (void)0 : assert_failed(#expression, __FILE__, __LINE__))

#endif
