#!lua flags=no-writes
-- What the outbox holds, if it stands under this token and is all there.
-- KEYS: outbox, owner       ARGV: token
local owner = redis.call('HMGET', KEYS[2], 'token', 'start', 'end', 'entries')
if not owner[1] then return {'GONE', ''} end
if owner[1] ~= ARGV[1] then return {'FENCED', owner[1]} end
if redis.call('XLEN', KEYS[1]) ~= tonumber(owner[4]) then return {'GONE', ''} end
return {'OK', owner[2], owner[3], owner[4]}
