#!lua flags=allow-oom
-- Removes the entries up to an id, if they are still those of the owner they were read from.
-- The entry removed last tells where what is left begins, and how many bytes went before it.
-- KEYS: outbox, owner       ARGV: token, last id to remove, the id after it
local owner = redis.call('HMGET', KEYS[2], 'token')
if not owner[1] then return {'GONE', ''} end
if owner[1] ~= ARGV[1] then return {'FENCED', owner[1]} end
local last = redis.call('XREVRANGE', KEYS[1], ARGV[2], '-', 'COUNT', 1)[1]
if not last then return {'OK', '0'} end
local removed = redis.call('XTRIM', KEYS[1], 'MINID', '=', ARGV[3])
redis.call('HSET', KEYS[2], 'start', last[1])
redis.call('HINCRBY', KEYS[2], 'entries', -removed)
return {'OK', tostring(removed)}
