package busd

import "github.com/modulebus/modulebus/subjects"

// Catalogue is what the configuration needs to know of the callbacks that are declared.
type Catalogue struct{}

// Find implements config.Catalogue.
func (Catalogue) Find(name string) (string, bool) {
	d, ok := subjects.Find(name)
	if !ok {
		return "", false
	}
	return d.FullName(), true
}

// CanRefuse implements config.Catalogue.
func (Catalogue) CanRefuse(full string) bool {
	d, ok := subjects.Find(full)
	return ok && d.CanRefuse()
}

// KnowsOrigin implements config.Catalogue.
func (Catalogue) KnowsOrigin(full string) bool {
	d, ok := subjects.Find(full)
	return ok && d.KnowsOrigin()
}

// Speculative implements config.Catalogue.
func (Catalogue) Speculative(full string) bool {
	d, ok := subjects.Find(full)
	return ok && d.Options.GetSpeculative()
}

// Names implements config.Catalogue.
func (Catalogue) Names() []string {
	var names []string
	for _, d := range subjects.All() {
		names = append(names, d.Name)
	}
	return names
}

// Scopes implements config.Catalogue.
func (Catalogue) Scopes() []string { return subjects.Scopes() }
