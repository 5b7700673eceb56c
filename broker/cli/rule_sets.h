/* rule_sets.h - the rules of one bus as the daemon would compile them. */
#ifndef SLUICE_CLI_RULE_SETS_H
#define SLUICE_CLI_RULE_SETS_H

#include "broker/core/config.h"
#include "broker/core/match.h"

/* `bus`: a name of config->buses. Ids are places in the configuration; rules that are not enabled are left out. Errors as match_set_new(), the
 * bus in front. */
enum sluice_err rule_set_of_bus(const struct config *config, const char *bus, struct match_set **ret_set, struct sluice_error *reterr);

#endif
