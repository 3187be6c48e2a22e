/* SPDX-License-Identifier: MIT
 *
 * The lock-free parts, explored: the real sources in all interleavings within
 * the bounds (tests/model/weave.h), and mutants of them, each of which must
 * be caught by at least one model of its part.
 * No runtime is started.
 */
#include "harness.h"

#include "model/weave.h"

/* Slow builds explore less; what the models say has been seen by the others. */
static unsigned looser(void)
{
	return scaled(100) < 100;
}

static void explore_part(const char *part)
{
	unsigned models = 0;

	for (struct model_suite *s = model_suites(); s; s = s->next) {
		if (s->mutant || strcmp(s->part, part) != 0)
			continue;
		for (size_t i = 0; i < s->count; i++, models++) {
			const struct model *m = &s->models[i];
			struct model_result r = model_explore(m, looser(), true);
			printf("%s, %s: %llu executions of %u threads, at most %u preemptions, "
			       "%u delayed stores\n",
			       part, m->name, (unsigned long long)r.executions, m->threads,
			       r.preemptions, m->delays);
			if (r.failure)
				FAIL("%s, %s: %s", part, m->name, r.failure);
			CHECK_GT(r.executions, 10);
		}
	}
	CHECK_GT(models, 0);
}

static bool caught(const struct model_suite *mutant)
{
	for (size_t i = 0; i < mutant->count; i++) {
		struct model_result r = model_explore(&mutant->models[i], 0, false);
		if (!r.failure)
			continue;
		printf("%s: caught by \"%s\" in execution %llu: %s\n", mutant->mutant,
		       mutant->models[i].name, (unsigned long long)r.executions, r.failure);
		return true;
	}
	return false;
}

static void catch_mutants(const char *part)
{
	unsigned mutants = 0;

	for (struct model_suite *s = model_suites(); s; s = s->next) {
		if (!s->mutant || strcmp(s->part, part) != 0)
			continue;
		mutants++;
		if (!caught(s))
			FAIL("%s: no model catches this mutant", s->mutant);
	}
	CHECK_GT(mutants, 0);
}

#define PART(name)                      \
	TEST(name##_holds)              \
	{                               \
		explore_part(#name);    \
	}                               \
	TEST(name##_mutants_are_caught) \
	{                               \
		catch_mutants(#name);   \
	}

PART(deque)
PART(ring)
PART(park)
PART(join)
PART(foreign)
PART(sleep)
