#!lua
-- Removes blobs that no manifest names any more, if the prefix is still the writer's: one that
-- was paused would remove what its successor has written meanwhile.
-- KEYS: meta, index of blobs, blob …     ARGV: token, name …
local leader = redis.call('HGET', KEYS[1], 'leader')
if leader ~= ARGV[1] then return {'FENCED', leader or ''} end
for i = 3, #KEYS do
  redis.call('UNLINK', KEYS[i])
  redis.call('SREM', KEYS[2], ARGV[i - 1])
end
return {'OK', ''}
