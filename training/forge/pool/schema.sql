CREATE TABLE IF NOT EXISTS meta (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    format INTEGER NOT NULL,
    batch INTEGER NOT NULL,
    samples INTEGER NOT NULL,
    version INTEGER NOT NULL,
    offered INTEGER NOT NULL,
    closed INTEGER NOT NULL,
    finishes INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS groups (
    grp INTEGER PRIMARY KEY,
    prompt TEXT NOT NULL,
    predicted REAL,
    passed INTEGER,
    started INTEGER NOT NULL,
    finished INTEGER,               -- its place among all that finished
    step INTEGER,                   -- that took it
    dropped INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS live ON groups (step, dropped);
CREATE INDEX IF NOT EXISTS running ON groups (grp) WHERE finished IS NULL AND NOT dropped;
CREATE TABLE IF NOT EXISTS attempts (
    trajectory TEXT PRIMARY KEY,
    grp INTEGER,
    sample INTEGER,
    attempt INTEGER NOT NULL,
    opened REAL NOT NULL,
    ended REAL,
    reason TEXT,
    judged INTEGER NOT NULL DEFAULT 0,  -- has its outcome
    excused INTEGER NOT NULL DEFAULT 0, -- given up: it will have none
    latest INTEGER NOT NULL DEFAULT 1,
    UNIQUE (grp, sample, attempt)
);
CREATE INDEX IF NOT EXISTS awaited ON attempts (ended)
    WHERE latest AND grp IS NOT NULL AND NOT judged AND NOT excused;
CREATE TABLE IF NOT EXISTS completions (
    trajectory TEXT NOT NULL,
    turn INTEGER NOT NULL,
    facts TEXT NOT NULL,
    arrays BLOB NOT NULL,
    UNIQUE (trajectory, turn)
);
CREATE TABLE IF NOT EXISTS rewards (
    trajectory TEXT NOT NULL,
    name TEXT NOT NULL,
    turn INTEGER,
    score REAL NOT NULL,
    evidence TEXT NOT NULL,
    UNIQUE (trajectory, name)
);
CREATE TABLE IF NOT EXISTS batches (
    step INTEGER PRIMARY KEY,
    taken REAL NOT NULL,
    trained REAL
);
CREATE TABLE IF NOT EXISTS members (
    step INTEGER NOT NULL,
    place INTEGER NOT NULL,
    grp INTEGER NOT NULL UNIQUE,
    trajectories TEXT NOT NULL,
    PRIMARY KEY (step, place)
);
