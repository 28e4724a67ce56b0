-- SPDX-License-Identifier: MIT
local squares = {}
for i = 1, 1000 do squares[i] = i * i end
print(_VERSION, #squares, squares[1000], os.time() > 1e9)
local file = assert(io.open("/tmp/lines", "w"))
file:write("one\ntwo\n")
file:close()
for line in io.lines("/tmp/lines") do print(line) end
print(string.format("%.10f", math.sin(1)), pcall(error, "caught", 0))
print(select("#", ...), ...)
io.stderr:write("to standard error\n")
os.exit(5)
