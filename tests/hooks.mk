# SPDX-License-Identifier: MIT
#
# Part of Makefile, for rules that automake cannot read.

# The hooks are compiled into the library's accesses, hence into every object that includes them.
$(hooked_tests): LDADD = libnumapool-hooked.la $(NUMA_LIBS) $(CHECK_LIBS) $(JANSSON_LIBS)
$(hooked_tests): libnumapool-hooked.la
$(hooked_tests:=.$(OBJEXT)): HOOKS_CPPFLAGS = -DNUMAPOOL_HOOKS
