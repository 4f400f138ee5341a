#!lua flags=allow-oom
-- Takes the slot of a partition for a new owner: whatever its outbox holds is dropped, and the
-- next delivery has to start at the cursor. The newest owner wins; only Kafka appoints owners.
-- KEYS: outbox, owner       ARGV: token, cursor
redis.call('UNLINK', KEYS[1], KEYS[2])
local empty = ARGV[2] .. '-0'
redis.call('HSET', KEYS[2], 'token', ARGV[1], 'start', empty, 'end', empty, 'entries', 0)
return {'OK', ''}
