# Builds what a function is made of, without Docker and without a Python 3.13 on this machine.
#
# Every stack's Makefile names its AGENTS and includes this; `sam build --build-in-source` then asks
# for build-<function>. Libraries are unpacked once for all functions of all stacks, into .bundle/.
# Needs uv (in .venv or on PATH), make and a POSIX shell.
#
# PLATFORM: another kind of machine than the templates', such as x86_64-manylinux_2_28.

PLATFORM ?= aarch64-manylinux_2_28
VERSION := 3.13

AWS := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
ROOT := $(abspath $(AWS)/../..)
UV ?= $(firstword $(wildcard $(ROOT)/.venv/bin/uv) uv)

# A folder for each state of the requirements: it is made whole or not at all, and never changed.
STATE := $(firstword $(shell cat "$(AWS)/requirements.txt" "$(AWS)/build.mk" | cksum))
LIBRARIES := $(AWS)/.bundle/$(PLATFORM)-$(STATE)

# A Python of the functions' own version, if there is one: Lambda keeps no bytecode, so what is not
# compiled here is compiled while a caller waits.
PYTHON := $(shell for python in python$(VERSION) $$(pyenv prefix $(VERSION).0 2>/dev/null)/bin/python$(VERSION); \
  do "$$python" -c '' 2>/dev/null && echo "$$python" && break; done)
# By hash and unchecked: the same bytes whenever it is built, and no file's date is looked up.
COMPILE := $(if $(PYTHON),"$(PYTHON)" -m compileall -q --invalidation-mode unchecked-hash,: no bytecode for)

# Hosts of other kinds, and what is for developers' machines.
LEFT_OUT := asgi.py cli.py commands dashboard server.py twin
FOLDERS := $(patsubst %/agent.toml,%,$(foreach agent,$(AGENTS),$(wildcard $(ROOT)/agents/$(agent)/agent.toml)))

.PHONY: libraries
libraries: $(LIBRARIES)/.complete

$(LIBRARIES)/.complete:
	@rm -rf "$(LIBRARIES).$$PPID"
	@"$(UV)" pip install --quiet --no-config --python-platform $(PLATFORM) --python-version $(VERSION) \
	  --only-binary :all: --require-hashes --target "$(LIBRARIES).$$PPID" -r "$(AWS)/requirements.txt"
	@cd "$(LIBRARIES).$$PPID" && rm -rf bin .lock && find . \( -name '*.pyx' -o -name '*.pxd' \
	  -o -name '*.pyi' -o -name '*.c' -o -name '*.h' -o -name '*.hash' \) -delete
	@$(COMPILE) "$(LIBRARIES).$$PPID"
	@touch "$(LIBRARIES).$$PPID/.complete"
	@test -e "$@" && rm -rf "$(LIBRARIES).$$PPID" || mv "$(LIBRARIES).$$PPID" "$(LIBRARIES)"

build-%: libraries
	@cp -R "$(LIBRARIES)/." "$(ARTIFACTS_DIR)/" && rm "$(ARTIFACTS_DIR)/.complete"
	@cp -R "$(ROOT)/src/voxyray" "$(ARTIFACTS_DIR)/voxyray"
	@cd "$(ARTIFACTS_DIR)/voxyray" && rm -rf $(LEFT_OUT)
	@mkdir "$(ARTIFACTS_DIR)/agents"
	@for folder in $(FOLDERS); do cp -R "$$folder" "$(ARTIFACTS_DIR)/agents/" || exit; done
	@rm -rf "$(ARTIFACTS_DIR)"/agents/*/tests
	@find "$(ARTIFACTS_DIR)/voxyray" "$(ARTIFACTS_DIR)/agents" -name __pycache__ -prune -exec rm -rf {} +
	@$(COMPILE) "$(ARTIFACTS_DIR)/voxyray" "$(ARTIFACTS_DIR)/agents"
