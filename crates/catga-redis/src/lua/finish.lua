-- Ends a claim. ARGV: key, fence, `finish` or `leave`, answer, how long to keep it in milliseconds.
-- Answers whether the claim still was the owner's.
local key = base .. ':in:' .. ARGV[1]
local kept = redis.call('GET', key)
local mine = 'C' .. ARGV[2] .. ':'
if not kept or string.sub(kept, 1, #mine) ~= mine then return 0 end
if ARGV[3] == 'leave' then
  redis.call('DEL', key)
else
  redis.call('SET', key, 'D' .. ARGV[4], 'PX', ARGV[5])
end
return 1
