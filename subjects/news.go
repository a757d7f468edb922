package subjects

import (
	"fmt"
	"strings"
)

// News is where news for a module is stored that it is to be told at least once. busd's stream of that module hears it.
func (s Server) News(c AnyCallback, module string) string {
	return s.root + "news." + Token(module) + "." + c.declaration().FullName()
}

// NewsAny matches News of every callback, also of those this version does not know.
func (s Server) NewsAny(module string) string { return s.root + "news." + Token(module) + ".*.*" }

// NewsOfAll matches News of every module and callback.
func (s Server) NewsOfAll() string { return s.root + "news.>" }

// NewsStream is the JetStream stream that keeps a module's news. It is named as [Server.StoreBucket] is.
func (s Server) NewsStream(module string) string { return s.bucket("news", module) }

// NewsOf returns the full name, category.callback, of the callback that a News subject is about; an error for any other
// subject. There need not be such a callback.
func NewsOf(subject string) (string, error) {
	const tokens = 6
	all := strings.Split(subject, ".")
	if len(all) != tokens || all[0] != "modulebus" || all[2] != "news" {
		return "", fmt.Errorf("subjects: %q is not about news", subject)
	}
	return all[4] + "." + all[5], nil
}
