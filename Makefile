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
            -Wformat=2 -Wundef -Wvla -Wwrite-strings -Wimplicit-fallthrough $(if $(WERROR),-Werror)
EM_CFLAGS = -std=gnu11 -D_GNU_SOURCE -DEDGEMIND_VERSION='"$(VERSION)"' -I. -pthread -fno-common \
            -MMD -MP $(WARNINGS) $(SANITIZE) $(shell pkg-config --cflags $(pkgs)) $(CFLAGS)
EM_LDFLAGS = -pthread $(SANITIZE) $(LDFLAGS)

objects = $(patsubst %.c,$(BUILD)/%.o,$(1))
common_objects := $(call objects,$(wildcard common/*.c proto/*.c))
daemon_objects := $(call objects,$(filter-out daemon/main.c,$(wildcard daemon/*.c)))
client_objects := $(call objects,$(filter-out client/emctl.c,$(wildcard client/*.c)))
unit_tests := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/test_*.c))

all: $(BUILD)/edgemindd $(BUILD)/emctl

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	@$(if $(V),,echo "  CC      $<")
	$(Q)$(CC) $(EM_CFLAGS) -c -o $@ $<

# Everything but the two main files, so that tests and fuzzers link what the programs link.
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

unit: $(unit_tests)
	$(Q)for test in $^; do $$test || exit 1; done

clean:
	rm -rf $(BUILD)

.PHONY: all unit clean
.SECONDARY:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
