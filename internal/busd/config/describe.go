package config

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// Describe writes the configuration as understood, with what the defaults filled in. It looks like busd.yaml, but the
// modules' config is only counted, and URLs are without passwords.
func (c *Config) Describe(w io.Writer) error {
	return description.Execute(w, c)
}

// String returns what [Config.Describe] writes.
func (c *Config) String() string {
	var b strings.Builder
	_ = c.Describe(&b) // a Builder always takes it
	return b.String()
}

var description = template.Must(template.New("busd.yaml").Funcs(template.FuncMap{
	"text": describeText, "urls": describeURLs, "list": describeList, "networks": describeNetworks, "size": describeSize, "time": describeTime,
	"hedge": describeHedge, "override": describeOverride, "evaluate": describeEvaluate,
}).Parse(`server_name: {{text .ServerName}}
nats:
{{- with .NATS.Listen}}
  listen: {{text .}}{{end}}
{{- with .NATS.URL}}
  url: {{urls .}}{{end}}
{{- with .NATS.Credentials}}
  credentials: {{text .}}{{end}}
{{- with .NATS.TLS.CA}}
  tls.ca: {{text .}}{{end}}
{{- with .NATS.TLS.Cert}}
  tls.cert: {{text .}}{{end}}
{{- with .NATS.TLS.Key}}
  tls.key: {{text .}}{{end}}
http:
  listen: {{text .HTTP.Listen}}
{{- with .HTTP.TokenFile}}
  token_file: {{text .}}{{end}}
{{- with .HTTP.TrustedProxies}}
  trusted_proxies: {{networks .}}{{end}}
{{- with .Homeserver.URL}}
homeserver:
  url: {{urls .}}
{{- with $.Homeserver.TokenFile}}
  token_file: {{text .}}{{end}}{{end}}
modules:{{if not .Modules}} none{{end}}
{{- range .Modules}}
  - module: {{text .Name}}
{{- if .Run}}
    run: {{list .Run}}
    workers: {{.Workers}}
{{- else}}
    run: elsewhere
{{- end}}
    config: {{size .Config}}
    timeout: {{time .Timeout}}
    on_failure: {{with .OnFailure}}{{.}}{{else}}default{{end}}
    hedge: {{hedge .Hedge}}
    breaker: {{.Breaker}}
{{- with .Callbacks}}
    callbacks:
{{- range $name, $override := .}}
      {{$name}}: {{override $override}}
{{- end}}{{end}}
{{- end}}
budget: {{time .Budget}}
evaluate: {{evaluate .Sequential}}
`))

var plainText = regexp.MustCompile(`^[A-Za-z0-9_./+][A-Za-z0-9_./@+=:-]*$`)

func describeText(s string) string {
	if plainText.MatchString(s) {
		return s
	}
	return strconv.Quote(s)
}

func describeList(list []string) string {
	texts := make([]string, len(list))
	for i, s := range list {
		texts[i] = describeText(s)
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

func describeNetworks(list []netip.Prefix) string {
	texts := make([]string, len(list))
	for i, p := range list {
		texts[i] = p.String()
	}
	return describeList(texts)
}

// describeURLs leaves out who logs in there, and with which password.
func describeURLs(s string) string {
	var list []string
	for one := range strings.SplitSeq(s, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil {
			continue
		}
		if u.User != nil {
			u.User = url.User("redacted")
		}
		list = append(list, u.String())
	}
	return describeText(strings.Join(list, ","))
}

func describeOverride(o Override) string {
	var parts []string
	if o.Timeout != 0 {
		parts = append(parts, "timeout: "+describeTime(o.Timeout))
	}
	if o.OnFailure != nil {
		parts = append(parts, "on_failure: "+o.OnFailure.String())
	}
	if o.Hedge != nil {
		parts = append(parts, "hedge: "+describeHedge(*o.Hedge))
	}
	if o.Breaker != nil {
		parts = append(parts, "breaker: "+o.Breaker.String())
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func describeHedge(d time.Duration) string {
	if d == 0 {
		return off
	}
	return describeTime(d)
}

// String returns the breaker as it is written in busd.yaml.
func (b Breaker) String() string {
	if b.Failures == 0 {
		return off
	}
	return fmt.Sprintf("{failures: %d, open: %s}", b.Failures, describeTime(b.Open))
}

func describeEvaluate(sequential []string) string {
	switch {
	case len(sequential) == 0:
		return evaluations[0]
	case slices.Contains(sequential, Everything):
		return evaluations[1]
	}
	var parts []string
	for _, name := range sequential {
		parts = append(parts, name+": "+evaluations[1])
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func describeTime(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// describeSize says how much there is, but not what.
func describeSize(config json.RawMessage) string {
	var object map[string]json.RawMessage
	if json.Unmarshal(config, &object) == nil {
		return count(len(object), "key")
	}
	var list []json.RawMessage
	if json.Unmarshal(config, &list) == nil {
		return count(len(list), "item")
	}
	return "1 value"
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
