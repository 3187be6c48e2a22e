# SPDX-License-Identifier: MIT
#
# libgreen: `make help` lists the targets, CONTRIBUTING.md says how they are used.
#
# Everything is built below build/<variant>/.  Sources are found by wildcard: a
# new file needs no change here, and a directory that is absent is no error.

VARIANT ?= release
B := build/$(VARIANT)

CFLAGS ?= -O2 -g
CLANG ?= clang
OBJCOPY ?= objcopy
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
BINDIR := $(PREFIX)/bin
INCLUDEDIR := $(PREFIX)/include
MANDIR := $(PREFIX)/share/man
DATADIR := $(PREFIX)/share

ARCH ?= $(shell uname -m)
VERSION := $(shell sed -n 's/^.define GREEN_VERSION "\(.*\)"/\1/p' runtime/green.h)
SONAME := libgreen.so.0

.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := all

# Quiet unless V=1.
ifneq ($(V),1)
Q := @
say = @printf '  %-6s %s\n' $(1) $(patsubst $(B)/%,%,$@)
endif

# ---- variants --------------------------------------------------------------

sanitizers := asan ubsan tsan
check_variants := release clang $(sanitizers)

asan_flags := -fsanitize=address
ubsan_flags := -fsanitize=undefined -fno-sanitize-recover=all
tsan_flags := -fsanitize=thread
fuzz_flags := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined \
	-DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION=1
coverage_flags := --coverage -fprofile-update=atomic -O0

variant_flags := $($(VARIANT)_flags)

ifneq ($(filter clang fuzz $(sanitizers),$(VARIANT)),)
override CC := $(CLANG)
endif

# Fortified libc calls hide accesses from the sanitizers and need optimisation.
ifeq ($(variant_flags),)
fortify := -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
endif

# ---- flags -----------------------------------------------------------------

warnings := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wold-style-definition -Wpointer-arith -Wwrite-strings -Wundef -Wvla \
	$(if $(filter 1,$(WERROR)),-Werror)

# initial-exec: a thread-local access is a load, not a call to the dynamic linker.
# Unwind tables at every instruction let debuggers and profilers walk green stacks.
codegen := -fPIC -fvisibility=hidden -ftls-model=initial-exec -fno-omit-frame-pointer \
	-fasynchronous-unwind-tables -fstack-protector-strong -fstack-clash-protection

# Landing pads only: the switch keeps no shadow stack, so nothing may claim SHSTK.
ifeq ($(ARCH),x86_64)
codegen += -fcf-protection=branch
endif

# Private headers are found by #include "..." only: some bear the name of one of libc's.
all_cppflags = -D_GNU_SOURCE= -iquote runtime -iquote stacks -I$(B)/include $(fortify) $(CPPFLAGS)
all_cflags = -std=gnu11 $(warnings) $(codegen) -pthread $(CFLAGS) $(variant_flags)
all_ldflags = -pthread -Wl,-z,relro,-z,now,-z,noexecstack $(variant_flags) $(LDFLAGS)

# liburing goes in statically: all system calls of the runtime then lie in its own text.
URING ?= -l:liburing.a
libs := $(URING) -lm

compile = $(CC) $(all_cppflags) $(all_cflags) $(1) -MMD -MP -c -o $@ $<
# -u: nothing refers to the descriptor, by which greenps knows programs, and the tests'
# archive, unlike the library, would leave it out.
link = $(CC) $(all_cflags) $(all_ldflags) -o $@ $(filter %.o,$^) $(1) \
	$(if $(filter %/libgreen_test.a,$^),-u green_descriptor) \
	$(filter %/libgreen.a %/libgreen_test.a,$^) $(libs)

# The library's code lies in a section of its own, whose bounds the linker gives a name
# to: whether it was interrupted in there is a question of two addresses (overflow.c).
own_section := $(foreach s,.text .text.unlikely .text.startup .text.hot,--rename-section $(s)=green_text)
in_one_section = $(if $(filter runtime/% stacks/%,$<),$(Q)$(OBJCOPY) $(own_section) $@)

# ---- what there is to build ------------------------------------------------

# In runtime/arch a file named for another CPU is left out.
other_cpus := $(filter-out $(ARCH),x86_64 aarch64)
lib_src := $(wildcard runtime/*.c stacks/*.c) \
	$(filter-out $(foreach cpu,$(other_cpus),%_$(cpu).c %_$(cpu).S),$(wildcard runtime/arch/*.[cS]))
# Interception of system calls: x86-64, and not beside a sanitizer, whose own run-time
# library makes system calls from everywhere.
ifeq ($(ARCH)$(filter $(sanitizers) fuzz,$(VARIANT)),x86_64)
lib_src += $(filter-out %/none.c,$(wildcard runtime/intercept/*.[cS]))
preload_lib := $(B)/libgreenrun.so
else
lib_src += runtime/intercept/none.c runtime/intercept/decode.c
tests_left_out := tests/test_dispatch.c tests/test_patch.c tests/test_site.c \
	tests/test_futex.c tests/test_stack_memory.c \
	tests/test_link.c tests/test_fast_link.c tests/test_link_wake.c
endif
httpd_src := $(filter-out %/main.c,$(wildcard examples/httpd/*.c))
tool_dirs := $(sort $(dir $(wildcard tools/*/*.c)))
# greenps needs elfutils; without it it is left out, and what installs it is said.
header_there = $(shell echo '\#include <$(1)>' | $(CC) -E - >/dev/null 2>&1 && echo yes)
libdw_there := $(call header_there,elfutils/libdwfl.h)
ifeq ($(libdw_there),)
tool_dirs := $(filter-out tools/greenps/,$(tool_dirs))
left_out = @echo '  greenps is left out: it needs elfutils (Debian: apt install libdw-dev)'
endif

# greentrace needs libbpf too, and what makes its BPF part: clang and bpftool, or the file
# that they made, which release tarballs have in bpf/.  Ubuntu's bpftool is a script that
# looks for one made for the running kernel: any other does as well.
BPFTOOL ?= $(firstword $(shell for tool in bpftool /usr/sbin/bpftool \
	/usr/lib/linux-tools/*/bpftool /usr/lib/linux-tools-*/bpftool; do \
		"$$tool" version >/dev/null 2>&1 && command -v "$$tool"; done; true))
skeleton := $(B)/bpf/greentrace.skel.h
skeleton_shipped := $(wildcard bpf/greentrace.skel.h)
skeleton_tools := $(and $(BPFTOOL),$(shell $(CLANG) -print-targets 2>/dev/null | grep -w bpf))
libbpf_there := $(shell printf '\043include <bpf/libbpf_version.h>\n\043if LIBBPF_MAJOR_VERSION < 1\n\043error\n\043endif\n' \
	| $(CC) -E - >/dev/null 2>&1 && echo yes)
ifeq ($(and $(libdw_there),$(libbpf_there),$(or $(skeleton_tools),$(skeleton_shipped))),)
tool_dirs := $(filter-out tools/greentrace/,$(tool_dirs))
left_out_bpf = @echo '  greentrace is left out: it needs elfutils, libbpf 1.0, bpftool and clang (Debian: apt install' \
	'libdw-dev libbpf-dev bpftool clang)'
endif
example_dirs := $(sort $(dir $(wildcard examples/*/*.c)))
harness_src := $(wildcard tests/harness*.c)
harness := $(B)/tests/libharness.a
manpages := $(wildcard man/*.[1378])
headers := runtime/green.h runtime/green_io.h runtime/green_sync.h runtime/green_intercept.h

object = $(patsubst %,$(B)/obj/%.o,$(1))

static_lib := $(B)/libgreen.a
test_lib := $(B)/libgreen_test.a
shared_lib := $(B)/libgreen.so.$(VERSION)
tools := $(patsubst tools/%/,$(B)/%,$(tool_dirs))
examples := $(patsubst examples/%/,$(B)/examples/%,$(example_dirs)) \
	$(patsubst %.c,$(B)/%,$(wildcard examples/*.c))
tests := $(patsubst %.c,$(B)/%,$(filter-out $(tests_left_out),$(wildcard tests/test_*.c))) \
	$(patsubst tests/stress/%.c,$(B)/tests/stress_%,$(wildcard tests/stress/*.c))
greentrace_fuzzers := $(if $(filter tools/greentrace/,$(tool_dirs)),$(wildcard tests/fuzz/fuzz_greentrace_*.c))
fuzzers := $(patsubst tests/fuzz/%.c,$(B)/tests/%,$(greentrace_fuzzers) \
	$(filter-out tests/fuzz/fuzz_greentrace_%,$(wildcard tests/fuzz/fuzz_*.c)))
# What runs natively and under greenrun; those for which there is a compiler.
compiles = $(shell echo 'int main() {}' | $(1) -fsyntax-only - 2>/dev/null && echo yes)
conform := $(if $(preload_lib),$(B)/tests/conform \
	$(if $(call compiles,$(CXX) -x c++ -std=c++20),$(B)/tests/conform_cxx) \
	$(if $(call compiles,gcc -x c -fopenmp),$(B)/tests/conform_openmp))

# A shared object cannot be linked without undefined symbols under a sanitizer.
libraries := $(static_lib) $(if $(filter $(sanitizers) fuzz,$(VARIANT)),,$(shared_lib)) $(preload_lib)

.PHONY: all
all: $(libraries) $(tools) $(examples) ## build libraries, tools and examples (default)
	$(left_out)
	$(left_out_bpf)

.PHONY: programs
programs: all $(tests) $(conform) $(B)/tests/probe

# ---- rules -----------------------------------------------------------------

# Written only when a flag or the compiler changes: then everything is rebuilt.
# Also makes include/, the one place where #include <green.h> finds the headers.
.PHONY: force
$(B)/flags: force
	@mkdir -p $(B)/include
	@echo '$(CC) $(all_cppflags) $(all_cflags) $(all_ldflags) $(headers)' | cmp -s - $@ || \
		{ ln -srf $(headers) $(B)/include && \
		echo '$(CC) $(all_cppflags) $(all_cflags) $(all_ldflags) $(headers)' > $@; }

$(B)/obj/%.c.o: %.c $(B)/flags
	$(call say,CC)
	@mkdir -p $(@D)
	$(Q)$(call compile,$(object_flags))
	$(call in_one_section)

$(B)/obj/%.S.o: %.S $(B)/flags
	$(call say,AS)
	@mkdir -p $(@D)
	$(Q)$(call compile)
	$(call in_one_section)

# An intercepted system call that needs no more than the fast stage changes no vector
# register (intercept/call.h).
$(B)/obj/runtime/intercept/fast%.c.o: object_flags = -mgeneral-regs-only

$(B)/obj/runtime/arch/sys.c.o: object_flags = $(if $(filter x86_64,$(ARCH)),-mgeneral-regs-only)

# A tracer's call pushes onto the stack, where a function's red zone would be.
$(B)/obj/runtime/probes.c.o: object_flags = $(if $(filter x86_64,$(ARCH)),-mno-red-zone)

$(B)/obj/tests/%.o: object_flags = -iquote tests -iquote examples/httpd

# One object in which the hidden symbols are local: internal names cannot collide
# with those of a program that links statically.  The tests get at them all.
$(B)/obj/green.o: $(call object,$(lib_src))
	$(Q)$(LD) -r -o $@ $^
	$(Q)$(OBJCOPY) --localize-hidden --globalize-symbol=_.stapsdt.base $@

$(static_lib): $(B)/obj/green.o
$(test_lib): $(call object,$(lib_src))
$(static_lib) $(test_lib):
	$(call say,AR)
	$(Q)rm -f $@
	$(Q)$(AR) rcs $@ $^

$(shared_lib): $(call object,$(lib_src)) runtime/libgreen.map
	$(call say,LINK)
	$(Q)$(CC) $(all_cflags) $(all_ldflags) -shared -static-libgcc -Wl,-soname,$(SONAME) -Wl,-z,defs \
		-Wl,--version-script=runtime/libgreen.map -Wl,--exclude-libs,ALL \
		-o $@ $(filter %.o,$^) $(libs)
	$(Q)ln -sf $(@F) $(B)/$(SONAME)
	$(Q)ln -sf $(SONAME) $(B)/libgreen.so

# What greenrun preloads: it starts libgreen when the program makes its first thread.
$(preload_lib): $(call object,$(wildcard runtime/intercept/preload/*.c)) $(shared_lib)
	$(call say,LINK)
	$(Q)$(CC) $(all_cflags) $(all_ldflags) -shared -Wl,-soname,$(@F) -Wl,-z,defs \
		-Wl,-rpath,'$$ORIGIN' -o $@ $(filter %.o,$^) -L$(B) -l:$(SONAME)

# The BPF part of greentrace: bpf/*.bpf.c to one object each, which bpftool links, strips
# of what the kernel does not read, and turns into a header.
ifneq ($(skeleton_tools),)
bpf_cpu := $(patsubst aarch64,arm64,$(patsubst x86_64,x86,$(ARCH)))
bpf_objects := $(patsubst %.c,$(B)/obj/%.o,$(wildcard bpf/*.bpf.c))

$(bpf_objects): $(B)/obj/%.o: %.c $(B)/flags
	$(call say,BPF)
	@mkdir -p $(@D)
	$(Q)$(CLANG) -std=gnu11 -O2 -g -Wall -Wextra -Wno-unused-parameter $(if $(filter 1,$(WERROR)),-Werror) \
		-target bpf -mcpu=v3 -D__TARGET_ARCH_$(bpf_cpu) -iquote bpf -iquote runtime \
		-I/usr/include/$(ARCH)-linux-gnu -MMD -MP -c -o $@ $<

$(skeleton): $(bpf_objects)
	$(call say,SKEL)
	@mkdir -p $(@D)
	$(Q)$(BPFTOOL) gen object $(B)/obj/bpf/greentrace.o $^
	@echo '/* NOLINTBEGIN: written by bpftool */' > $@
	$(Q)$(BPFTOOL) gen skeleton $(B)/obj/bpf/greentrace.o name greentrace_bpf >> $@
	@echo '/* NOLINTEND */' >> $@
else
$(skeleton): $(skeleton_shipped) $(B)/flags
	@mkdir -p $(@D)
	$(Q)cp $< $@
endif
$(call object,$(wildcard tools/greentrace/*.c)): object_flags = -iquote bpf -iquote tools/greenps \
	-isystem $(B)/bpf
$(call object,$(addprefix tools/greentrace/,attach.c check.c object.c)): $(skeleton)

greenps_libs := -ldw -lelf
greentrace_libs := -lbpf -ldw -lelf -lz
# What greenps can do with processes and symbols, greentrace does by the same code.
greentrace_also := $(addprefix tools/greenps/,asleep.c census.c core.c escape.c files.c json.c layout.c memory.c \
	modules.c source.c symbols.c target.c snapshot.c text.c waits.c)

# $(call program,TARGET,SOURCES,LIBRARIES,ARCHIVE): how a program is linked.
define program
$(1): $(call object,$(2)) $(or $(4),$(static_lib))
	$$(call say,LINK)
	@mkdir -p $$(@D)
	$$(Q)$$(call link,$(3))
endef

$(foreach d,$(tool_dirs),$(eval \
	$(call program,$(d:tools/%/=$(B)/%),$(wildcard $(d)*.c) $($(d:tools/%/=%)_also),$($(d:tools/%/=%)_libs))))
$(foreach d,$(example_dirs),$(eval \
	$(call program,$(d:examples/%/=$(B)/examples/%),$(wildcard $(d)*.c))))
$(foreach s,$(wildcard examples/*.c),$(eval \
	$(call program,$(s:%.c=$(B)/%),$(s))))
# What greentrace does without another process, and needs no library for.
test_greentrace_also := $(addprefix tools/greentrace/,histogram.c lockfile.c note.c sites.c time_text.c) \
	tools/greenps/escape.c
test_greentrace_timeline_also := $(addprefix tools/greentrace/,batch_functions.c chains.c order.c protobuf.c)
greentrace_tests := $(wildcard tests/test_greentrace*.c)
$(call object,$(greentrace_tests)): object_flags = -iquote tests -iquote tools/greentrace \
	-iquote tools/greenps -iquote bpf
$(foreach s,$(greentrace_tests),$(eval \
	$(call program,$(s:%.c=$(B)/%),$(s) $(harness_src) $($(s:tests/%.c=%)_also),-lcmocka,$(test_lib))))
$(foreach s,$(filter-out tests/test_http% $(greentrace_tests),$(wildcard tests/test_*.c)),$(eval \
	$(call program,$(s:%.c=$(B)/%),$(s) $(harness_src),-lcmocka,$(test_lib))))
$(foreach s,$(wildcard tests/test_http*.c),$(eval \
	$(call program,$(s:%.c=$(B)/%),$(s) $(harness_src) $(httpd_src),-lcmocka,$(test_lib))))
$(foreach s,$(wildcard tests/stress/*.c),$(eval \
	$(call program,$(s:tests/stress/%.c=$(B)/tests/stress_%),$(s),$(harness) -lcmocka,$(test_lib))))
$(foreach s,$(filter-out tests/fuzz/fuzz_greentrace_%,$(wildcard tests/fuzz/fuzz_*.c)),$(eval \
	$(call program,$(s:tests/fuzz/%.c=$(B)/tests/%),$(s) $(httpd_src),-fsanitize=fuzzer,$(test_lib))))
# Those named for greentrace have all of it but main(), and no need of the library.
$(call object,$(greentrace_fuzzers)): object_flags = -iquote bpf -iquote tools/greenps -iquote tools/greentrace
$(foreach s,$(greentrace_fuzzers),$(eval \
	$(call program,$(s:tests/fuzz/%.c=$(B)/tests/%),$(s) $(filter-out %/main.c,$(wildcard tools/greentrace/*.c)) \
	$(greentrace_also),-fsanitize=fuzzer $(greentrace_libs),$(call object,tools/greenps/escape.c))))

# test_model explores sources of the runtime and mutants of them.  part_PART.c includes
# the sources; PART.FILE.NAME.sed makes a mutant, in which runtime/FILE.c is changed.  All
# their symbols are made local: each object defines the same ones.  Their section groups
# are undone before, in which clang 17 and later put what ASan watches: of groups with the
# same name the linker keeps one, local or not.
models := $(patsubst tests/model/part_%.c,%,$(wildcard tests/model/part_*.c))
mutants := $(patsubst tests/model/%.sed,%,$(wildcard tests/model/*.sed))

# $(call model,NAME,PART,FLAGS)
define model
$(B)/model/$(1).o: tests/model/part_$(2).c $(B)/flags
	$$(call say,CC)
	@mkdir -p $$(@D)
	$$(Q)$$(CC) -iquote $(B)/model/$(1) $$(all_cppflags) $$(all_cflags) -iquote tests $(3) \
		-MMD -MP -MT $$@ -MF $$(@:.o=.d) -c -o $$@.tmp $$<
	$$(Q)$$(LD) -r --force-group-allocation -o $$@ $$@.tmp
	$$(Q)$$(OBJCOPY) --keep-global-symbol=none $$@
	@rm -f $$@.tmp
endef
# $(call mutant,NAME,PART,FILE)
define mutant
$(B)/model/$(1)/$(3).c: tests/model/$(1).sed runtime/$(3).c
	@mkdir -p $$(@D)
	$$(Q)sed -f $$^ > $$@
$(B)/model/$(1).o: $(B)/model/$(1)/$(3).c
$(call model,$(1),$(2),-DMODEL_MUTANT='"$(1)"')
endef
$(foreach m,$(models),$(eval $(call model,$(m),$(m))))
$(foreach m,$(mutants),$(eval \
	$(call mutant,$(m),$(word 1,$(subst ., ,$(m))),$(word 2,$(subst ., ,$(m))))))
$(B)/tests/test_model: $(call object,tests/model/weave.c tests/model/memory.c) \
	$(patsubst %,$(B)/model/%.o,$(models) $(mutants))

# Plain programs: nothing of the library, no flag of its own.
plain_flags := -O2 -g -Wall -Wextra $(if $(filter 1,$(WERROR)),-Werror) -pthread
$(B)/tests/conform: $(wildcard tests/conform/*.c)
	$(call say,LINK)
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 -D_GNU_SOURCE= $(plain_flags) -o $@ $(filter %.c,$^) -lrt -lm
$(B)/tests/conform_cxx: tests/conform/cxx/cxx.cc
	$(call say,LINK)
	@mkdir -p $(@D)
	$(Q)$(CXX) -std=c++20 $(plain_flags) -o $@ $<
$(B)/tests/conform_openmp: tests/conform/openmp/openmp.c
	$(call say,LINK)
	@mkdir -p $(@D)
	$(Q)gcc -std=gnu11 $(plain_flags) -fopenmp -o $@ $<
$(conform): tests/conform/conform.h $(B)/flags

# An archive for the stress programs, which may have a main() of their own.
$(filter $(B)/tests/stress_%,$(tests)): $(harness)
$(harness): $(call object,$(harness_src))
	$(call say,AR)
	@mkdir -p $(@D)
	$(Q)rm -f $@
	$(Q)$(AR) rcs $@ $^

$(B)/tests/probe: $(B)/obj/tests/probe.c.o
	$(call say,LINK)
	@mkdir -p $(@D)
	$(Q)$(CC) $(all_cflags) $(all_ldflags) -o $@ $^

-include $(shell find $(B)/obj $(B)/model -name '*.d' 2>/dev/null)

# Recipes that build do so on all CPUs, unless make was told otherwise.  They start
# with a +, as every line does that calls make by another name than $(MAKE).
build = $(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))

# ---- tests -----------------------------------------------------------------

static_checks := tests/check_exports.sh tests/security.sh tests/check_install.sh
cmocka_there = $(shell echo '\#include <cmocka.h>' | $(CC) -E - >/dev/null 2>&1 && echo yes)

.PHONY: test
test: ## run the tests of the default build; installs nothing, needs no root
	+@$(build) $(if $(cmocka_there),programs,all $(B)/tests/probe)
	@tests/run --builds $(VARIANT) --workers 2 $(static_checks)

# The sanitizer builds with their tests, and the plain build by clang.  What tools with a
# sanitizer look at has none.
.PHONY: $(sanitizers) clang
$(sanitizers) clang:
	+@$(build) VARIANT=$@ programs
	+@[ $@ = clang ] || $(build) VARIANT=release programs
	@tests/run --builds $@ --workers 2
clang: ## tests of a build by clang
asan: ## tests with the address sanitizer
ubsan: ## tests with the undefined behaviour sanitizer
tsan: ## tests with the thread sanitizer

.PHONY: check_builds
check_builds:
	@scripts/deps.sh build test lint
	+@for variant in $(check_variants); do \
		$(build) VARIANT=$$variant programs || exit 1; \
	done

check_scripts := scripts/format.sh scripts/style.sh scripts/lint.sh $(static_checks)

.PHONY: check
check: check_builds ## installs what is missing, then tests a pairwise choice of everything
	@tests/run --pairwise --builds "$(check_variants)" --workers "1 2 8" $(check_scripts)

.PHONY: check-all
check-all: check_builds ## as check, but every suite in every configuration
	@tests/run --builds "$(check_variants)" --workers "1 2 8" $(check_scripts)

.PHONY: check-nptl
check-nptl: programs ## fetches glibc's thread tests, and runs them natively and under greenrun
	@BUILD=$(B) scripts/check-nptl.sh

.PHONY: lint
lint: $(B)/flags $(if $(filter tools/greentrace/,$(tool_dirs)),$(skeleton)) ## static analysis, style and format
	@BUILD=$(B) scripts/lint.sh
	@scripts/style.sh
	@scripts/format.sh

.PHONY: format
format: ## rewrite the sources as .clang-format says
	@scripts/format.sh --write

.PHONY: coverage
coverage: ## run the tests counted, print lines covered per file
	+@$(build) VARIANT=coverage programs
	@find build/coverage -name '*.gcda' -delete
	@tests/run --builds coverage --workers 2; status=$$?; \
		scripts/coverage.sh build/coverage && exit $$status

FUZZ_SECONDS ?= 60
.PHONY: fuzz
fuzz: ## run each fuzzer for FUZZ_SECONDS (60)
	+@$(build) VARIANT=fuzz fuzzers
	@scripts/fuzz.sh build/fuzz $(FUZZ_SECONDS)

.PHONY: fuzzers
fuzzers: $(fuzzers)

# ---- trying it -------------------------------------------------------------

.PHONY: demo
demo: ## a server with 10,000 connections; installs what is missing
	@scripts/deps.sh build
	+@$(build) all
	@BUILD=$(B) scripts/demo.sh

.PHONY: bench
bench: all ## run all benchmarks
	@$(B)/greenbench all --json

# ---- installing ------------------------------------------------------------

# gdb loads the second by itself with the shared library, if it looks below PREFIX.
gdb_script := $(DATADIR)/libgreen/libgreen-gdb.py
gdb_autoload := $(DATADIR)/gdb/auto-load$(LIBDIR)/$(notdir $(shared_lib))-gdb.py

man_dir = $(DESTDIR)$(MANDIR)/man$(subst .,,$(suffix $(1)))

define install_shared
install -m 755 $(shared_lib) $(preload_lib) $(DESTDIR)$(LIBDIR)
ln -sf $(notdir $(shared_lib)) $(DESTDIR)$(LIBDIR)/$(SONAME)
ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libgreen.so
endef

.PHONY: install
install: all ## install below DESTDIR and PREFIX (/usr/local)
	install -d $(addprefix $(DESTDIR),$(INCLUDEDIR) $(LIBDIR)/pkgconfig $(BINDIR))
	install -m 644 $(headers) $(DESTDIR)$(INCLUDEDIR)
	install -m 644 $(static_lib) $(DESTDIR)$(LIBDIR)
	$(if $(filter $(shared_lib),$(libraries)),$(install_shared))
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@VERSION@|$(VERSION)|' \
		green.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/green.pc
	$(if $(tools),install -m 755 $(tools) $(DESTDIR)$(BINDIR))
	install -D -m 644 tools/gdb/libgreen-gdb.py $(DESTDIR)$(gdb_script)
	install -D -m 644 tools/gdb/libgreen-gdb.py $(DESTDIR)$(gdb_autoload)
	$(foreach page,$(manpages),install -D -m 644 -t $(call man_dir,$(page)) $(page);)
	$(if $(DESTDIR),,@ldconfig 2>/dev/null || echo 'programs find libgreen.so after ldconfig by root, or by LD_LIBRARY_PATH=$(LIBDIR)')

.PHONY: uninstall
uninstall: ## remove what install put there
	rm -f $(addprefix $(DESTDIR)$(INCLUDEDIR)/,$(notdir $(headers)))
	rm -f $(addprefix $(DESTDIR)$(LIBDIR)/,libgreen.a libgreen.so $(SONAME) $(notdir $(shared_lib) $(preload_lib)))
	rm -f $(DESTDIR)$(LIBDIR)/pkgconfig/green.pc
	rm -f $(addprefix $(DESTDIR)$(BINDIR)/,$(notdir $(tools)))
	rm -f $(DESTDIR)$(gdb_script) $(DESTDIR)$(gdb_autoload)
	rm -f $(foreach page,$(manpages),$(call man_dir,$(page))/$(notdir $(page)))

# With the BPF part of greentrace as it is built here, for those without clang or bpftool.
.PHONY: dist
dist: $(skeleton) ## build/libgreen-VERSION.tar.gz of the last commit
	@mkdir -p build
	git archive --format=tar.gz --prefix=libgreen-$(VERSION)/bpf/ --add-file=$(skeleton) \
		--prefix=libgreen-$(VERSION)/ -o build/libgreen-$(VERSION).tar.gz HEAD

.PHONY: clean
clean: ## remove build/
	rm -rf build

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14
	@echo 'Variables: CC CFLAGS LDFLAGS PREFIX LIBDIR DESTDIR WERROR=1 V=1 CHECK_SEED FUZZ_SECONDS'
