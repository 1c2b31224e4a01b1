-- Keeps entries from being claimed while their handlers run. ARGV: consumer, member, then suffix and id of each.
-- Answers the numbers of those that somebody else has.
local consumer, member, lost = ARGV[1], ARGV[2], {}
for i = 3, #ARGV, 2 do
  local stream, id = base .. ':' .. ARGV[i], ARGV[i + 1]
  if owner_of(stream, consumer, id) == member then
    redis.call('XCLAIM', stream, consumer, member, 0, id, 'JUSTID')
  else
    lost[#lost + 1] = (i - 3) / 2 + 1
  end
end
return lost
