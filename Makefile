# EdgeMind. `make help` lists the goals; V=1 shows the commands.

VERSION := 0.1.0
PREFIX  ?= /usr/local
BUILD   ?= build
CC      ?= cc
CFLAGS  ?= -O2 -g

bindir  := $(PREFIX)/bin
sbindir := $(PREFIX)/sbin
Q := $(if $(V),,@)

common_pkgs := jansson
daemon_pkgs := libevent libsystemd inih
client_pkgs := smartcols
pkgs := $(common_pkgs) $(daemon_pkgs) $(client_pkgs)

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
            -Wformat=2 -Wundef -Wvla -Wwrite-strings -Wimplicit-fallthrough \
            -Wno-missing-field-initializers $(if $(WERROR),-Werror)
EM_CFLAGS = -std=gnu11 -D_GNU_SOURCE -DEDGEMIND_VERSION='"$(VERSION)"' -I. -pthread -fno-common \
            -MMD -MP $(WARNINGS) $(SANITIZE) $(shell pkg-config --cflags $(pkgs)) $(CFLAGS)
EM_LDFLAGS = -pthread $(SANITIZE) $(LDFLAGS)

objects = $(patsubst %.c,$(BUILD)/%.o,$(1))
common_objects := $(call objects,$(wildcard common/*.c proto/*.c))
daemon_objects := $(call objects,$(filter-out daemon/main.c,$(wildcard daemon/*.c)))
client_objects := $(call objects,$(filter-out client/emctl.c,$(wildcard client/*.c)))
unit_tests := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/test_*.c))
bench_programs := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/bench/*.c))
integration_programs := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/integration/*.c))

all: $(BUILD)/edgemindd $(BUILD)/emctl

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	@$(if $(V),,echo "  CC      $<")
	$(Q)$(CC) $(EM_CFLAGS) -c -o $@ $<

# Everything but the two main files, so that tests and fuzzers link what the programs link.
$(BUILD)/proto/interface.o: proto/io.edgemind.manager.varlink
$(BUILD)/libcommon.a: $(common_objects)
$(BUILD)/libdaemon.a: $(daemon_objects)
$(BUILD)/libclient.a: $(client_objects)
$(BUILD)/%.a:
	@$(if $(V),,echo "  AR      $@")
	$(Q)rm -f $@ && $(AR) rcs $@ $^

link = @$(if $(V),,echo "  LINK    $@" ;) \
       $(CC) $(EM_LDFLAGS) -o $@ $(filter %.o %.a,$^) $(shell pkg-config --libs $(1))

$(BUILD)/edgemindd: $(BUILD)/daemon/main.o $(BUILD)/libdaemon.a $(BUILD)/libcommon.a
	$(call link,$(daemon_pkgs) $(common_pkgs))

$(BUILD)/emctl: $(BUILD)/client/emctl.o $(BUILD)/libclient.a $(BUILD)/libcommon.a
	$(call link,$(client_pkgs) $(common_pkgs))

$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(BUILD)/libclient.a $(BUILD)/libdaemon.a $(BUILD)/libcommon.a
	$(call link,check $(pkgs))

$(BUILD)/tests/integration/%: $(BUILD)/tests/integration/%.o $(BUILD)/libclient.a $(BUILD)/libdaemon.a $(BUILD)/libcommon.a
	$(call link,$(pkgs))

$(BUILD)/tests/bench/%: $(BUILD)/tests/bench/%.o
	$(call link,$(common_pkgs))

unit-tests: $(unit_tests)
test-programs: $(integration_programs)

# The README's two commands. Each installs what is missing, builds in parallel and runs.
demo:
	@tests/install-packages.sh demo
	@$(MAKE) -j$$(nproc) all
	@tests/demo.sh $(BUILD)

check:
	@tests/install-packages.sh check
	@$(MAKE) -j$$(nproc) all unit-tests test-programs
	@tests/check.sh $(BUILD)

lint: all
	@tests/lint.sh $(BUILD)

bench:
	@tests/install-packages.sh bench
	@$(MAKE) -j$$(nproc) all $(bench_programs)
	@tests/bench/bench.sh $(BUILD)

# What `make install` puts where. /etc/edgemind is fixed: the programs name it.
datadir     := $(PREFIX)/share/edgemind
mandir      := $(PREFIX)/share/man
completionsdir := $(PREFIX)/share/bash-completion/completions
confdir     := /etc/edgemind
unitdir     ?= $(call systemd_dir,systemdsystemunitdir,/usr/lib/systemd/system)
sysusersdir ?= $(call systemd_dir,sysusersdir,/usr/lib/sysusers.d)
tmpfilesdir ?= $(call systemd_dir,tmpfilesdir,/usr/lib/tmpfiles.d)
systemd_dir = $(or $(shell pkg-config --variable=$(1) systemd 2>/dev/null),$(2))

# emctl looks for models where they are installed, so it is built again when PREFIX changes.
$(BUILD)/client/definition_file.o: EM_CFLAGS += -DEDGEMIND_MODELS='"$(datadir)/models"'
$(BUILD)/client/definition_file.o: $(BUILD)/prefix
$(BUILD)/prefix: FORCE
	@mkdir -p $(@D)
	@echo '$(PREFIX)' | cmp -s - $@ || echo '$(PREFIX)' >$@

install: all
	install -D -m 755 $(BUILD)/edgemindd $(DESTDIR)$(sbindir)/edgemindd
	install -D -m 755 $(BUILD)/emctl $(DESTDIR)$(bindir)/emctl
	install -D -m 644 daemon/edgemindd.8 $(DESTDIR)$(mandir)/man8/edgemindd.8
	install -D -m 644 client/emctl.1 $(DESTDIR)$(mandir)/man1/emctl.1
	install -D -m 644 client/emctl.bash-completion $(DESTDIR)$(completionsdir)/emctl
	install -D -m 644 client/examples/ffn10.json $(DESTDIR)$(datadir)/models/ffn10.json
	install -D -m 644 proto/io.edgemind.manager.varlink $(DESTDIR)$(datadir)/io.edgemind.manager.varlink
	install -D -m 644 systemd/edgemindd.socket $(DESTDIR)$(unitdir)/edgemindd.socket
	install -D -m 644 systemd/edgemindd.service $(DESTDIR)$(unitdir)/edgemindd.service
	sed -i 's|@sbindir@|$(sbindir)|' $(DESTDIR)$(unitdir)/edgemindd.service
	install -D -m 644 systemd/sysusers.d/edgemind.conf $(DESTDIR)$(sysusersdir)/edgemind.conf
	install -D -m 644 systemd/tmpfiles.d/edgemind.conf $(DESTDIR)$(tmpfilesdir)/edgemind.conf
	[ -e $(DESTDIR)$(confdir)/edgemindd.conf ] || \
		install -D -m 644 systemd/edgemindd.conf $(DESTDIR)$(confdir)/edgemindd.conf
ifeq ($(DESTDIR),)
	! command -v systemd-sysusers >/dev/null || systemd-sysusers $(sysusersdir)/edgemind.conf
	! command -v systemd-tmpfiles >/dev/null || systemd-tmpfiles --create $(tmpfilesdir)/edgemind.conf
	! [ -d /run/systemd/system ] || systemctl daemon-reload
endif

# Leaves the configuration and the user.
uninstall:
ifeq ($(DESTDIR),)
	-! [ -d /run/systemd/system ] || systemctl disable --now edgemindd.service edgemindd.socket
endif
	rm -f $(addprefix $(DESTDIR),$(sbindir)/edgemindd $(bindir)/emctl $(mandir)/man8/edgemindd.8 \
		$(mandir)/man1/emctl.1 $(completionsdir)/emctl $(unitdir)/edgemindd.socket $(unitdir)/edgemindd.service \
		$(sysusersdir)/edgemind.conf $(tmpfilesdir)/edgemind.conf)
	rm -rf $(DESTDIR)$(datadir)
ifeq ($(DESTDIR),)
	! [ -d /run/systemd/system ] || systemctl daemon-reload
endif

.PHONY: install uninstall FORCE

help:
	@echo 'make            build/edgemindd and build/emctl'
	@echo 'make demo       the main job, step by step, on a private daemon'
	@echo 'make check      every test that this machine allows'
	@echo 'make bench      timings beside the peers'
	@echo 'make lint       the rules that a program can check'
	@echo 'make install    honours DESTDIR and PREFIX ($(PREFIX))'
	@echo 'make clean'

clean:
	rm -rf $(BUILD)

.PHONY: all unit-tests test-programs demo check lint bench help clean
.SECONDARY:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
