package store

// Limit is what a store's stream gets for its size.
var Limit = limit
