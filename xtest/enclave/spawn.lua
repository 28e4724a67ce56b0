-- A shell beside the interpreter, and a program beside the shell.
local pipe = io.popen("read word; echo from the shell: $word", "w")
pipe:write("hello\n")
print(pipe:close())
print(os.execute("exit 3"))
io.write(io.popen("head -n 1 /root/spawn.lua; echo status $?"):read("a"))
