-- Settles entries. ARGV: consumer, member, whether to trim, how many streams have entries that are done, for each of those
-- suffix, count and ids, then op, suffix, id, pause, count for each of the others. Answers the numbers of the refused.
local acks, items, i = {}, {}, 5
for _ = 1, tonumber(ARGV[4]) do
  local count, ids = tonumber(ARGV[i + 1]), {}
  for j = i + 2, i + 1 + count do ids[#ids + 1] = ARGV[j] end
  acks[#acks + 1] = { ARGV[i], ids }
  i = i + 2 + count
end
for j = i, #ARGV, 5 do
  items[#items + 1] = { ARGV[j], ARGV[j + 1], ARGV[j + 2], ARGV[j + 3], ARGV[j + 4] }
end
local stale, touched = settle(ARGV[1], ARGV[2], acks, items)
if ARGV[3] == '1' then
  for _, suffix in ipairs(touched) do trim(suffix) end
end
return stale
