package admission

// Excess is which connections are disconnected.
var Excess = excess
