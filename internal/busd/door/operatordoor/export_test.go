package operatordoor

// RosterLag is how long a status waits, for tests.
const RosterLag = rosterLag
