-- Saves a reader's position. ARGV: name, position, fence. Answers whether the fence was the newest.
local key = base .. ':cp:' .. ARGV[1]
if redis.call('HGET', key, 'fence') ~= ARGV[3] then return 0 end
redis.call('HSET', key, 'position', ARGV[2])
return 1
