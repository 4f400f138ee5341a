#!lua
-- Replaces the manifest of the group's checkpoint, if its writer still holds the prefix, the
-- manifest that it builds on stands, and every blob is there.
-- KEYS: meta, manifest, blob …   ARGV: token, token and seq of the manifest before or '' '',
--                                      new seq, (name, value) × fields …
local leader = redis.call('HGET', KEYS[1], 'leader')
if leader ~= ARGV[1] then return {'FENCED', leader or ''} end
local last = redis.call('HMGET', KEYS[2], 'token', 'seq')
if (last[1] or '') ~= ARGV[2] or (last[2] or '') ~= ARGV[3] then return {'SEQ', last[2] or ''} end
for i = 3, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 then return {'LOST', KEYS[i]} end
end
redis.call('HSET', KEYS[2], 'token', ARGV[1], 'seq', ARGV[4], unpack(ARGV, 5))
return {'OK', ARGV[4]}
