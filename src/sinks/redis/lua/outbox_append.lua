#!lua
-- Appends a delivery if the slot is its owner's and the outbox ends where the delivery starts.
-- Nothing is written unless all is well. Offsets are compared as text: a Lua number holds
-- 53 bits of them.
-- KEYS: outbox, owner       ARGV: token, from, to, bytes at most, delivery
local owner = redis.call('HMGET', KEYS[2], 'token', 'start', 'end', 'entries', 'last_from')
if not owner[1] then return {'GONE', ''} end
if owner[1] ~= ARGV[1] then return {'FENCED', owner[1]} end
-- The stream went without its hash: deleted by hand, or restored from elsewhere.
if redis.call('XLEN', KEYS[1]) ~= tonumber(owner[4]) then return {'GONE', ''} end
local last_to, appended = string.match(owner[3], '^(%d+)-(%d+)$')
if last_to ~= ARGV[2] then
  if last_to == ARGV[3] and owner[5] == ARGV[2] then return {'THERE', ''} end
  return {'GAP', last_to}
end
local held = appended - string.match(owner[2], '%d+$')
if held > 0 and held + #ARGV[5] > tonumber(ARGV[4]) then
  return {'FULL', string.format('%.0f', held)}
end
local id = string.format('%s-%.0f', ARGV[3], appended + #ARGV[5])
redis.call('XADD', KEYS[1], id, 'from', ARGV[2], 'delivery', ARGV[5])
redis.call('HSET', KEYS[2], 'end', id, 'last_from', ARGV[2])
redis.call('HINCRBY', KEYS[2], 'entries', 1)
return {'OK', ''}
