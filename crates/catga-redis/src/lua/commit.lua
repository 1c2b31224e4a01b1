-- Commits a transaction. ARGV: how long marks are kept in milliseconds, the process, then operations, each a letter with
-- what belongs to it; `U` begins a delivery. Everything is checked before anything is written.
-- Answers {0, partly applied deliveries}, {1, key} where a mark is set already, {2, number} where a delivery has gone to
-- somebody else.
local keep, node, time = ARGV[1], ARGV[2], now()
local units, unit, i = {}, nil, 3

local function arguments(count)
  local taken = {}
  for j = i + 1, i + count do taken[#taken + 1] = ARGV[j] end
  i = i + count + 1
  return taken
end

local counts = { M = 1, F = 2, O = 6, S = 9, L = 18 }
while i <= #ARGV do
  local op = ARGV[i]
  if op == 'U' then
    unit = { M = {}, F = {}, C = {}, O = {}, S = {}, L = {} }
    units[#units + 1] = unit
    i = i + 1
  elseif op == 'C' then
    local count = tonumber(ARGV[i + 1])
    i = i + 1
    unit.C[#unit.C + 1] = arguments(count)
  else
    local kind = unit[op]
    kind[#kind + 1] = arguments(counts[op])
  end
end

for _, one in ipairs(units) do
  for _, mark in ipairs(one.M) do
    local kept = redis.call('GET', base .. ':in:' .. mark[1])
    if kept and (string.sub(kept, 1, 1) == 'D'
      or tonumber(string.sub(kept, string.find(kept, ':', 1, true) + 1)) > time) then
      return { 1, mark[1] }
    end
  end
  -- A delivery with effects is done by who has it. Without any, a done is never refused.
  if #one.M + #one.C + #one.O + #one.L > 0 then
    for _, s in ipairs(one.S) do
      if s[3] ~= 'A' and owner_of(base .. ':' .. s[4], s[1], s[5]) ~= s[2] then return { 2, s[9] } end
    end
  end
end

local partial, answers = {}, {}

-- What was applied of a delivery stays, so it must not be repeated: it is buried with what the stream has of it.
local function give_up(number, one, applied, error)
  partial[#partial + 1] = { number, applied, #one.C, error, #one.S }
  local reason = 'partially applied, ' .. applied .. ' of ' .. #one.C .. ' commands: ' .. error
  for _, s in ipairs(one.S) do
    local entry, frame = redis.call('XRANGE', base .. ':' .. s[4], s[5], s[5])[1], ''
    if entry then
      for j = 1, #entry[2], 2 do
        if entry[2][j] == 'f' then frame = entry[2][j + 1] end
      end
    end
    bury({ 'consumer', s[1], 'handler', '', 'frame', frame, 'reason', reason, 'attempts', tostring(tonumber(s[8]) + 1),
      'node', node, 'first', digits(time), 'last', digits(time), 'parks', '' })
    s[3] = 'B'
  end
end

for number, one in ipairs(units) do
  local failed = false
  for k, command in ipairs(one.C) do
    local answer = redis.pcall(unpack(command))
    if type(answer) == 'table' and answer.err then
      give_up(number, one, k - 1, answer.err)
      failed = true
      break
    end
  end
  for _, mark in ipairs(one.M) do
    redis.call('SET', base .. ':in:' .. mark[1], 'D', 'PX', keep)
  end
  if not failed then
    for _, given in ipairs(one.F) do
      redis.call('SET', base .. ':in:' .. given[1], 'D' .. given[2], 'PX', keep, 'XX')
    end
    for _, row in ipairs(one.O) do put_row(tonumber(row[1]), row[2], row[3], row[4], row[5], row[6]) end
    for _, letter in ipairs(one.L) do bury(letter) end
  end
  for _, s in ipairs(one.S) do
    local whose = s[1] .. '\n' .. s[2]
    if not answers[whose] then
      answers[whose] = { s[1], s[2], {}, {} }
      answers[#answers + 1] = answers[whose]
    end
    local acks, items = answers[whose][3], answers[whose][4]
    if s[3] == 'D' then
      if not acks[s[4]] then
        acks[s[4]] = { s[4], {} }
        acks[#acks + 1] = acks[s[4]]
      end
      local ids = acks[s[4]][2]
      ids[#ids + 1] = s[5]
    else
      items[#items + 1] = { s[3], s[4], s[5], s[6], s[7] }
    end
  end
end
for _, some in ipairs(answers) do
  local _, touched = settle(some[1], some[2], some[3], some[4])
  for _, suffix in ipairs(touched) do trim(suffix) end
end
return { 0, partial }
