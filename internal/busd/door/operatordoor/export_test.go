package operatordoor

// MaxLookups is how many requests for records are answered at once, for tests.
const MaxLookups = maxLookups

// RosterLag is how long a status waits, for tests.
const RosterLag = rosterLag
