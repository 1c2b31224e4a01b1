-- Settles entries. ARGV: consumer, member, whether to trim, then op, suffix, id, pause, count for each.
-- Answers the numbers of the refused.
local items = {}
for i = 4, #ARGV, 5 do
  items[#items + 1] = { ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4] }
end
local stale, touched = settle(ARGV[1], ARGV[2], items)
if ARGV[3] == '1' then
  for _, suffix in ipairs(touched) do trim(suffix) end
end
return stale
