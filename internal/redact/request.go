package redact

import (
	"net"
	"net/http"
	"net/url"
	"strings"
)

// secretFields are the fields of a request's header that hold secrets, or addresses of people's machines.
var secretFields = []string{"Authorization", "Cookie", "Forwarded", "X-Forwarded-For", "X-Real-Ip", "Referer"}

// Request is what somebody says about a request over HTTP, such as a handler that panicked, without what the request has in its
// query, in its cookies, and in fields of its header that hold credentials or addresses, and without the address it comes from. What is in
// its body is not known here.
func Request(text string, about *http.Request) string {
	if text == "" {
		return text
	}
	host, _, _ := net.SplitHostPort(about.RemoteAddr)
	values := addSpellings(nil, host)
	for _, value := range append(ofQuery(about.URL), ofFields(about.Header)...) {
		values = addSpellings(values, value)
	}
	return without(text, longestFirst(values))
}

// ofQuery are the values of a query, as they are and as they are written.
func ofQuery(u *url.URL) (values []string) {
	for pair := range strings.SplitSeq(u.RawQuery, "&") {
		_, value, _ := strings.Cut(pair, "=")
		plain, _ := url.QueryUnescape(value)
		values = append(values, value, plain)
	}
	return values
}

// ofFields are the words of fields that are secret.
func ofFields(h http.Header) (values []string) {
	for _, name := range secretFields {
		for _, text := range h.Values(name) {
			values = append(values, text)
			values = append(values, strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" ,;=\"", r) })...)
		}
	}
	if _, password, ok := (&http.Request{Header: h}).BasicAuth(); ok {
		values = append(values, password)
	}
	return values
}
