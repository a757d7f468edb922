package admission

// Excess is which connections are disconnected.
var Excess = excess

// Blamed is the module whose requests would be turned down after JetStream has described streams so often.
func (a *Admission) Blamed(told map[string]int) string {
	module, _ := (&describing{admission: a, told: told}).most()
	return module
}
