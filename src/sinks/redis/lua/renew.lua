#!lua
-- Prolongs the lease of the writer that meta names, also one that has expired but that nobody
-- took. Where meta is gone, a claim decides.
-- KEYS: meta, lease         ARGV: token, lease in ms
local leader = redis.call('HGET', KEYS[1], 'leader')
local holder = redis.call('GET', KEYS[2])
if leader ~= ARGV[1] or (holder and holder ~= ARGV[1]) then return {'FENCED', leader or ''} end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return {'OK', ''}
