-- Ended sessions and idempotency keys are removed when they are old; ids are never used again.

-- The ids of sessions whose record was removed, kept for ever: a machine that bears one is an
-- orphan. `events_left` is 1 while events of the session are still in the log, then NULL.
CREATE TABLE retired (
    id          TEXT PRIMARY KEY,
    events_left INTEGER
) WITHOUT ROWID;
CREATE INDEX retired_events ON retired (events_left) WHERE events_left IS NOT NULL;

-- The newest event that was removed: who has not read as far has missed something.
ALTER TABLE total ADD COLUMN pruned_cursor INTEGER NOT NULL DEFAULT 0;

-- When the key was used. Until now that was not kept; it is when its session was asked for.
ALTER TABLE idempotency ADD COLUMN used_at INTEGER NOT NULL DEFAULT 0;
UPDATE idempotency SET used_at =
    (SELECT created_at FROM session WHERE session.id = idempotency.session);
CREATE INDEX idempotency_used ON idempotency (used_at);

CREATE TRIGGER session_kept BEFORE DELETE ON session WHEN OLD.live = 1 BEGIN
    SELECT RAISE(ABORT, 'a live session is never removed');
END;

CREATE TRIGGER session_removed AFTER DELETE ON session BEGIN
    UPDATE phase_count SET sessions = sessions - 1 WHERE phase = OLD.phase;
END;
