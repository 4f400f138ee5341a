#!lua
-- Puts staged views of closed windows in the place of those that stand, all at once, if the
-- prefix is still the writer's. Everything is checked before the first write.
-- KEYS: meta, ends, (staged, live) × views, views to remove …
-- ARGV: token, views, end to list or '', end to strike off or '', '1' if they keep no TTL
local leader = redis.call('HGET', KEYS[1], 'leader')
if leader ~= ARGV[1] then return {'FENCED', leader or ''} end
local found = redis.call('TYPE', KEYS[2]).ok
if found ~= 'none' and found ~= 'zset' then return {'TYPE', KEYS[2]} end
local last = 2 + 2 * tonumber(ARGV[2])
for i = 3, last, 2 do
  if redis.call('EXISTS', KEYS[i]) == 0 then return {'LOST', KEYS[i]} end
end
for i = 3, last, 2 do
  redis.call('RENAME', KEYS[i], KEYS[i + 1])
  if ARGV[5] == '1' then redis.call('PERSIST', KEYS[i + 1]) end
end
for i = last + 1, #KEYS do redis.call('UNLINK', KEYS[i]) end
if ARGV[3] ~= '' then redis.call('ZADD', KEYS[2], ARGV[3], ARGV[3]) end
if ARGV[4] ~= '' then redis.call('ZREM', KEYS[2], ARGV[4]) end
return {'OK', ''}
