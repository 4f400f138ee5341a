#!lua
-- Gives up the lease, if it is ours, so that a successor need not wait for its end.
-- KEYS: lease               ARGV: token
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('UNLINK', KEYS[1]) end
return {'OK', ''}
