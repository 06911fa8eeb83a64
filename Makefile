# EdgeMind. `make help` lists the goals; V=1 shows the commands.

VERSION := 0.1.0
SOVERSION := 0
PREFIX  ?= /usr/local
BUILD   ?= build
CC      ?= cc
CFLAGS  ?= -O2 -g
OBJCOPY ?= $(or $(patsubst %gcc,%objcopy,$(filter %-gcc,$(CC))),objcopy)

bindir  := $(PREFIX)/bin
sbindir := $(PREFIX)/sbin
Q := $(if $(V),,@)

common_pkgs := jansson
daemon_pkgs := libevent libsystemd inih
client_pkgs := smartcols ncursesw
pkgs := $(common_pkgs) $(daemon_pkgs) $(client_pkgs)

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
            -Wformat=2 -Wundef -Wvla -Wwrite-strings -Wimplicit-fallthrough \
            -Wno-missing-field-initializers $(if $(WERROR),-Werror)
# Offsets of 64 bits where a long has 32. Elsewhere they have 64 anyway.
large_files := $(if $(filter 4,$(shell echo __SIZEOF_LONG__ | $(CC) -E -P -)),-D_FILE_OFFSET_BITS=64)
EM_CFLAGS = -std=gnu11 -D_GNU_SOURCE $(large_files) -DEDGEMIND_VERSION='"$(VERSION)"' -I. -pthread -fno-common \
            -fPIC -fvisibility=hidden -ffunction-sections -fdata-sections -MMD -MP $(WARNINGS) $(SANITIZE) \
            $(shell pkg-config --cflags $(pkgs)) $(CFLAGS)
EM_LDFLAGS = -pthread $(SANITIZE) $(LDFLAGS)

objects = $(patsubst %.c,$(BUILD)/%.o,$(1))
common_objects := $(call objects,$(wildcard common/*.c common/*/*.c proto/*.c))
daemon_objects := $(call objects,$(filter-out daemon/main.c,$(wildcard daemon/*.c daemon/*/*.c)))
emctl_objects := $(call objects,$(filter-out client/emctl/emctl.c,$(wildcard client/emctl/*.c)))
library_objects := $(call objects,$(wildcard client/library/*.c))
library := $(BUILD)/libedgemind.so
view_objects := $(call objects,$(wildcard client/view/*.c))
view_library := $(BUILD)/libedgemind-view.so
examples := $(patsubst client/examples/%.c,$(BUILD)/examples/%,$(wildcard client/examples/*.c))
unit_tests := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/*/test_*.c tests/unit/*/*/test_*.c))
bench_programs := $(patsubst %.c,$(BUILD)/%,$(filter-out %/loop_turns.c,$(wildcard tests/bench/*.c))) \
                  $(BUILD)/tests/bench/loop_turns.so
integration_programs := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/integration/*.c))

all: $(BUILD)/edgemindd $(BUILD)/emctl $(library) $(BUILD)/libedgemind.a $(view_library)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	@$(if $(V),,echo "  CC      $<")
	$(Q)$(CC) $(EM_CFLAGS) -c -o $@ $<

# The libraries have everything except the two main files, so that tests and fuzzers link the same
# code as the programs.
$(BUILD)/proto/interface.o: proto/io.edgemind.manager.varlink
$(BUILD)/libcommon.a: $(common_objects)
$(BUILD)/libdaemon.a: $(daemon_objects)
$(BUILD)/libclient.a: $(emctl_objects) $(library_objects)
$(BUILD)/%.a:
	@$(if $(V),,echo "  AR      $@")
	$(Q)rm -f $@ && $(AR) rcs $@ $^

link = @$(if $(V),,echo "  LINK    $@" ;) \
       $(CC) $(EM_LDFLAGS) -o $@ $(filter %.o %.a %.so,$^) $(if $(1),$(shell pkg-config --libs $(1))) $(2)

$(BUILD)/edgemindd: $(BUILD)/daemon/main.o $(BUILD)/libdaemon.a $(BUILD)/libcommon.a
	$(call link,$(daemon_pkgs) $(common_pkgs))

# For the test of the watchdog: a daemon whose loop hangs on request.
$(BUILD)/test/edgemindd: $(BUILD)/daemon/main.o $(BUILD)/tests/systemd/hanging_loop.o $(BUILD)/libdaemon.a $(BUILD)/libcommon.a
	@mkdir -p $(@D)
	$(call link,$(daemon_pkgs) $(common_pkgs),$(wrap_dispatch))
wrap_dispatch := -Wl,--wrap=event_base_dispatch

# For tests of faults: programs whose allocator, or whose system calls, fail on request.
$(BUILD)/faults/edgemindd: $(BUILD)/daemon/main.o $(BUILD)/tests/faults/failing_allocator.o $(BUILD)/tests/faults/failing_calls.o $(BUILD)/libdaemon.a $(BUILD)/libcommon.a
	@mkdir -p $(@D)
	$(call link,$(daemon_pkgs) $(common_pkgs),-rdynamic)
$(BUILD)/faults/emctl: $(BUILD)/client/emctl/emctl.o $(BUILD)/tests/faults/failing_allocator.o $(BUILD)/tests/faults/name_killer.o $(BUILD)/libclient.a $(BUILD)/libcommon.a
	@mkdir -p $(@D)
	$(call link,$(client_pkgs) $(common_pkgs),-rdynamic)

$(BUILD)/emctl: $(BUILD)/client/emctl/emctl.o $(BUILD)/libclient.a $(BUILD)/libcommon.a
	$(call link,$(client_pkgs) $(common_pkgs))

# The shared library exports what edgemind.h declares; in the static one everything else is local.
# nodelete: the SIGBUS handler stays installed, so its code must stay loaded after dlclose.
shared := -shared -Wl,-soname=libedgemind.so.$(SOVERSION) -Wl,--version-script=client/library/edgemind.map -Wl,--gc-sections \
          -Wl,-z,nodelete
$(library).$(VERSION): $(library_objects) $(BUILD)/libcommon.a client/library/edgemind.map
	$(call link,$(common_pkgs),$(shared))
$(library).$(SOVERSION): $(library).$(VERSION)
$(library): $(library).$(SOVERSION)
$(library).$(SOVERSION) $(library):
	$(Q)ln -sf $(<F) $@

$(BUILD)/libedgemind.a: $(library_objects) $(BUILD)/libcommon.a
	@$(if $(V),,echo "  AR      $@")
	$(Q)$(CC) -r -nostdlib -o $(BUILD)/libedgemind.o $^
	$(Q)$(OBJCOPY) --localize-hidden $(BUILD)/libedgemind.o
	$(Q)rm -f $@ && $(AR) rcs $@ $(BUILD)/libedgemind.o

# `emctl exec` preloads it into engines that map weight files. It exports only the calls that it replaces.
$(view_library): $(view_objects) $(library_objects) $(BUILD)/libcommon.a client/view/view.map
	$(call link,$(common_pkgs),-shared -Wl$(comma)--version-script=client/view/view.map -Wl$(comma)--gc-sections -Wl$(comma)-z$(comma)nodelete)
comma := ,

# Links the library as its users do, but finds it in the build directory.
rpath = -Wl,-rpath,'$$ORIGIN/$(1)'
$(BUILD)/client/examples/%.o: EM_CFLAGS += -Iclient/library -ffp-contract=off
$(BUILD)/examples/%: $(BUILD)/client/examples/%.o $(library)
	@mkdir -p $(@D)
	$(call link,,$(call rpath,..) -lm)
# The plain network must compute exactly what the example does, so neither uses fused multiply-adds.
$(BUILD)/tests/integration/ffn_plain.o: EM_CFLAGS += -ffp-contract=off
$(BUILD)/tests/integration/library_check: $(BUILD)/tests/integration/library_check.o $(library)
	$(call link,,$(call rpath,../..))

# The allocator of these tests fails on request (tests/unit/failing_allocator.h).
$(BUILD)/tests/unit/%_faults: LDFLAGS += -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(BUILD)/libclient.a $(BUILD)/libdaemon.a $(BUILD)/libcommon.a
	$(call link,check $(pkgs))

# The readers stand for foreign engines, so they link no code of EdgeMind.
readers := $(addprefix $(BUILD)/tests/integration/,view_reader view_told)
$(readers): $(BUILD)/tests/integration/%: $(BUILD)/tests/integration/%.o
	$(call link)

# The observer of the soak shares no code with what it observes.
$(BUILD)/tests/soak/observer: $(BUILD)/tests/soak/observer.o
	$(call link)

preloaded := $(addprefix $(BUILD)/tests/integration/,large_pages shifted_clocks)
$(preloaded): $(BUILD)/tests/integration/%: $(BUILD)/tests/integration/%.o
	$(call link,,-shared)

# These tests link only the part of the view library that they test, not the calls that it replaces.
tested_view_objects := $(call objects,$(addprefix client/view/,copy_watch.c daemon_link.c order.c plan_link.c route_record.c stream.c touch.c unit_table.c))
$(BUILD)/tests/unit/client/view/%: $(BUILD)/tests/unit/client/view/%.o $(tested_view_objects) $(library_objects) $(BUILD)/libcommon.a
	$(call link,check $(common_pkgs))

$(BUILD)/tests/integration/%: $(BUILD)/tests/integration/%.o $(BUILD)/libclient.a $(BUILD)/libdaemon.a $(BUILD)/libcommon.a
	$(call link,$(pkgs))

# The benchmark of the event loop preloads it into the daemon.
$(BUILD)/tests/bench/loop_turns.so: $(BUILD)/tests/bench/loop_turns.o
	$(call link,,-shared)
$(BUILD)/tests/bench/decide: $(BUILD)/tests/bench/decide.o $(BUILD)/libdaemon.a $(BUILD)/libcommon.a
	$(call link,$(pkgs))
$(BUILD)/tests/bench/%: $(BUILD)/tests/bench/%.o $(BUILD)/libedgemind.a
	$(call link,$(common_pkgs))

# For the fuzzer of the view library.
view-objects: $(view_objects)

unit-tests: $(unit_tests)
examples: $(examples)
test-programs: $(view_library) $(integration_programs) $(examples) $(BUILD)/test/edgemindd $(BUILD)/faults/edgemindd $(BUILD)/faults/emctl \
               $(BUILD)/tests/soak/observer

# The README's two commands. Each installs missing packages, builds in parallel and runs.
demo:
	@tests/install-packages.sh demo
	@$(MAKE) -j$$(nproc) all
	@tests/demo.sh $(BUILD)

check:
	@tests/install-packages.sh check
	@$(MAKE) -j$$(nproc) all unit-tests test-programs
	@tests/check.sh $(BUILD)

# Only the parts of `make check` that need root and a large machine.
check-systemd:
	@tests/install-packages.sh check
	@$(MAKE) -j$$(nproc) all $(BUILD)/test/edgemindd
	@tests/systemd/boot.sh $(BUILD)

# Runs a prebuilt llama.cpp from npm on the arena. It is a part of `make check` if npm answers.
check-engines:
	@tests/install-packages.sh check
	@$(MAKE) -j$$(nproc) all
	@BUILD=$(BUILD) python3 tests/engines/llama.py
	@BUILD=$(BUILD) python3 tests/engines/kills.py 3

# The same with 100 kills of the daemon and 100 of engines that generate.
check-kills:
	@tests/install-packages.sh check
	@$(MAKE) -j$$(nproc) all
	@BUILD=$(BUILD) python3 tests/engines/kills.py

# Each allocation and each system call of the daemon fails, one after the other. `make check` only samples them.
check-faults:
	@tests/install-packages.sh check
	@$(MAKE) -j$$(nproc) all test-programs
	@python3 tests/faults/faults.py $(BUILD)

# Clients do everything at random while the daemon and they are killed. `make check` does it for two minutes.
soak:
	@tests/install-packages.sh check
	@$(MAKE) -j$$(nproc) all test-programs
	@MINUTES=$(or $(MINUTES),30) python3 tests/soak/soak.py $(BUILD)

# The tests of what has threads, with ThreadSanitizer.
check-tsan:
	@tests/install-packages.sh check
	@bash tests/tsan.sh $(BUILD)

check-arm64 check-armhf:
	@tests/emulated.sh $(@:check-%=%) $(BUILD)

lint: all
	@tests/lint.sh $(BUILD)

# The command that compiles each source, for clang-tidy and clangd.
compile_commands.json: FORCE
	@tests/install-packages.sh demo
	@$(MAKE) -Bn V=1 BUILD=$(BUILD) all unit-tests test-programs 2>/dev/null | grep -E ' -c -o [^ ]+\.o [^ ]+\.c$$' | \
		jq -Rn '[inputs | {directory: "$(CURDIR)", command: ., file: (split(" ") | last)}]' >$@

coverage:
	@tests/install-packages.sh check
	@$(MAKE) -j$$(nproc) BUILD=$(BUILD)/coverage CFLAGS='-O0 -g' SANITIZE=--coverage all unit-tests test-programs
	@tests/coverage.sh $(BUILD)/coverage

bench:
	@tests/install-packages.sh bench
	@$(MAKE) -j$$(nproc) all $(bench_programs) $(BUILD)/tests/soak/observer
	@tests/bench/bench.sh $(BUILD)

# The directories of `make install`. /etc/edgemind is fixed, because the programs have it compiled in.
datadir     := $(PREFIX)/share/edgemind
mandir      := $(PREFIX)/share/man
includedir  ?= $(PREFIX)/include
libdir      ?= $(PREFIX)/lib
completionsdir := $(PREFIX)/share/bash-completion/completions
confdir     := /etc/edgemind
units       := edgemindd.service edgemindd.socket edgemindd@.service edgemindd@.socket
unitdir     ?= $(call systemd_dir,systemdsystemunitdir,/usr/lib/systemd/system)
sysusersdir ?= $(call systemd_dir,sysusersdir,/usr/lib/sysusers.d)
tmpfilesdir ?= $(call systemd_dir,tmpfilesdir,/usr/lib/tmpfiles.d)
udevdir     ?= $(or $(shell pkg-config --variable=udevdir udev 2>/dev/null),/usr/lib/udev)
systemd_dir = $(or $(shell pkg-config --variable=$(1) systemd 2>/dev/null),$(2))

# emctl looks for models and for the view library in the directories where they are installed, so it is rebuilt
# when these change.
$(BUILD)/client/emctl/definition_file.o: EM_CFLAGS += -DEDGEMIND_MODELS='"$(datadir)/models"'
$(BUILD)/client/emctl/verb_exec.o: EM_CFLAGS += -DEDGEMIND_LIBDIR='"$(libdir)"'
$(BUILD)/client/emctl/definition_file.o $(BUILD)/client/emctl/verb_exec.o: $(BUILD)/prefix
$(BUILD)/prefix: FORCE
	@mkdir -p $(@D)
	@echo '$(PREFIX) $(libdir)' | cmp -s - $@ || echo '$(PREFIX) $(libdir)' >$@

install: all
	install -D -m 755 $(BUILD)/edgemindd $(DESTDIR)$(sbindir)/edgemindd
	install -D -m 755 $(BUILD)/emctl $(DESTDIR)$(bindir)/emctl
	install -D -m 644 daemon/edgemindd.8 $(DESTDIR)$(mandir)/man8/edgemindd.8
	install -D -m 644 client/emctl/emctl.1 $(DESTDIR)$(mandir)/man1/emctl.1
	install -D -m 644 client/view/edgemind-view.7 $(DESTDIR)$(mandir)/man7/edgemind-view.7
	install -D -m 644 client/emctl/emctl.bash-completion $(DESTDIR)$(completionsdir)/emctl
	install -D -m 644 $(library).$(VERSION) $(DESTDIR)$(libdir)/libedgemind.so.$(VERSION)
	ln -sf libedgemind.so.$(VERSION) $(DESTDIR)$(libdir)/libedgemind.so.$(SOVERSION)
	ln -sf libedgemind.so.$(SOVERSION) $(DESTDIR)$(libdir)/libedgemind.so
	install -D -m 644 $(BUILD)/libedgemind.a $(DESTDIR)$(libdir)/libedgemind.a
	install -D -m 644 $(view_library) $(DESTDIR)$(libdir)/edgemind/libedgemind-view.so
	install -D -m 644 client/library/edgemind.pc.in $(DESTDIR)$(libdir)/pkgconfig/edgemind.pc
	sed -i 's|@prefix@|$(PREFIX)|; s|@includedir@|$(includedir)|; s|@libdir@|$(libdir)|; s|@version@|$(VERSION)|' \
		$(DESTDIR)$(libdir)/pkgconfig/edgemind.pc
	install -D -m 644 client/library/edgemind.h $(DESTDIR)$(includedir)/edgemind.h
	install -D -m 644 client/library/libedgemind.3 $(DESTDIR)$(mandir)/man3/libedgemind.3
	install -D -m 644 client/examples/ffn10.json $(DESTDIR)$(datadir)/models/ffn10.json
	install -D -m 644 proto/io.edgemind.manager.varlink $(DESTDIR)$(datadir)/io.edgemind.manager.varlink
	install -D -m 644 -t $(DESTDIR)$(datadir)/prometheus $(filter-out %.test.yml,$(wildcard doc/prometheus/*))
	install -D -m 644 -t $(DESTDIR)$(unitdir) $(addprefix systemd/,$(units))
	sed -i 's|@sbindir@|$(sbindir)|' $(addprefix $(DESTDIR)$(unitdir)/,$(units))
	install -D -m 644 systemd/sysusers.d/edgemind.conf $(DESTDIR)$(sysusersdir)/edgemind.conf
	install -D -m 644 systemd/tmpfiles.d/edgemind.conf $(DESTDIR)$(tmpfilesdir)/edgemind.conf
	install -D -m 644 systemd/60-edgemind.rules $(DESTDIR)$(udevdir)/rules.d/60-edgemind.rules
	[ -e $(DESTDIR)$(confdir)/edgemindd.conf ] || \
		install -D -m 644 systemd/edgemindd.conf $(DESTDIR)$(confdir)/edgemindd.conf
ifeq ($(DESTDIR),)
	! command -v ldconfig >/dev/null || ldconfig
	! command -v systemd-sysusers >/dev/null || systemd-sysusers $(sysusersdir)/edgemind.conf
	! command -v systemd-tmpfiles >/dev/null || systemd-tmpfiles --create $(tmpfilesdir)/edgemind.conf
	! [ -d /run/systemd/system ] || systemctl daemon-reload
	! [ -e /run/udev/control ] || { udevadm control --reload; udevadm trigger --name-match=userfaultfd; }
endif

# Keeps the configuration and the user.
uninstall:
ifeq ($(DESTDIR),)
	-! [ -d /run/systemd/system ] || systemctl stop 'edgemindd@*.socket' 'edgemindd@*.service'
	-! [ -d /run/systemd/system ] || systemctl disable --now edgemindd.service edgemindd.socket
endif
	rm -f $(addprefix $(DESTDIR),$(sbindir)/edgemindd $(bindir)/emctl $(mandir)/man8/edgemindd.8 \
		$(mandir)/man1/emctl.1 $(mandir)/man7/edgemind-view.7 $(mandir)/man3/libedgemind.3 $(includedir)/edgemind.h $(libdir)/libedgemind.a \
		$(libdir)/libedgemind.so $(libdir)/libedgemind.so.$(SOVERSION) $(libdir)/libedgemind.so.$(VERSION) \
		$(libdir)/pkgconfig/edgemind.pc $(completionsdir)/emctl $(addprefix $(unitdir)/,$(units)) \
		$(sysusersdir)/edgemind.conf $(tmpfilesdir)/edgemind.conf $(udevdir)/rules.d/60-edgemind.rules)
	rm -rf $(DESTDIR)$(datadir) $(DESTDIR)$(libdir)/edgemind
ifeq ($(DESTDIR),)
	! [ -d /run/systemd/system ] || systemctl daemon-reload
endif

.PHONY: install uninstall FORCE

# Packs the last commit. The archive has the same bytes wherever and whenever it is made.
dist:
	@mkdir -p $(BUILD)
	git -c tar.umask=0022 archive --format=tar --prefix=edgemind-$(VERSION)/ \
		-o $(BUILD)/edgemind-$(VERSION).tar HEAD
	gzip -9nf $(BUILD)/edgemind-$(VERSION).tar

# Packs the working tree, also uncommitted changes. dpkg-buildpackage writes to BUILD/deb.
deb_tree := $(BUILD)/deb/edgemind-$(VERSION)
deb:
	@tests/install-packages.sh deb
	rm -rf $(BUILD)/deb
	mkdir -p $(deb_tree)
	tar --exclude-vcs --exclude=./build --exclude=./$(BUILD) -cf - . | tar -C $(deb_tree) -xf -
	cd $(deb_tree) && env -u MAKEFLAGS -u MAKELEVEL dpkg-buildpackage -us -uc

.PHONY: dist deb

help:
	@echo 'make            build/edgemindd, build/emctl, build/libedgemind.so and .a'
	@echo 'make examples   build/examples: programs that use the library'
	@echo 'make demo       the main job, step by step, on a private daemon'
	@echo 'make check      every test that this machine allows'
	@echo 'make bench      timings, compared with other programs'
	@echo 'make check-systemd, make check-arm64, make check-armhf, make check-engines, make check-tsan: single parts of make check'
	@echo 'make check-kills  kills the daemon and engines 100 times each'
	@echo 'make check-faults: each allocation and system call fails; make check only samples them'
	@echo 'make soak       everything at random for 30 minutes; MINUTES= for how long, SEED= repeats the choices'
	@echo 'make lint       the rules that a program can check'
	@echo 'make coverage   which share of the lines the tests reach, by room'
	@echo 'make compile_commands.json: for clangd and clang-tidy'
	@echo 'make install    honours DESTDIR and PREFIX ($(PREFIX))'
	@echo 'make dist       build/edgemind-$(VERSION).tar.gz, reproducible'
	@echo 'make deb        Debian packages in build/deb'
	@echo 'make clean'

clean:
	rm -rf $(BUILD)

.PHONY: all examples view-objects unit-tests test-programs demo check check-faults check-systemd check-arm64 check-armhf check-tsan check-engines check-kills soak lint coverage bench help clean
.SECONDARY:
-include $(shell find $(BUILD) -path $(BUILD)/deb -prune -o -name '*.d' -type f -print 2>/dev/null)
