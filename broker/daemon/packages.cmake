# Debian packages, by CPack: cmake --preset package && cmake --build --preset package && (cd build/package && cpack)
# Three of them, one an installation component: the daemon with the tool and the sources, the library, what is needed to build
# with it. Dependencies are what dpkg-shlibdeps finds in the programs.
foreach(package sluice libsluice0 libsluice-dev)
  string(REPLACE "libsluice0" library component ${package})
  string(REPLACE "libsluice-dev" development component ${component})
  string(REGEX REPLACE "^sluice$" daemon component ${component})
  install(FILES ${CMAKE_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${package} RENAME copyright COMPONENT ${component})
  string(TOUPPER ${component} component)
  set(CPACK_DEBIAN_${component}_PACKAGE_NAME ${package})
endforeach()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME sluice)
set(CPACK_PACKAGE_VENDOR Sluice)
set(CPACK_PACKAGE_CONTACT "Sluice maintainers <maintainers@sluice.example>")
set(CPACK_COMPONENTS_ALL daemon library development)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_SET_DESTDIR ON)                   # so that /etc is not below /usr
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

set(CPACK_COMPONENT_DAEMON_DESCRIPTION "Lambda and EventBridge on your own machine
 A daemon that keeps events on disk, matches them to rules and runs functions,
 scaled by the depth of their queues. With its command line tool and sources.")
set(CPACK_DEBIAN_DAEMON_PACKAGE_SECTION net)
set(CPACK_DEBIAN_DAEMON_PACKAGE_DEPENDS "passwd")
set(CPACK_DEBIAN_DAEMON_PACKAGE_SUGGESTS "bash-completion, man-db")
set(CPACK_DEBIAN_DAEMON_PACKAGE_CONTROL_EXTRA
  "${CMAKE_CURRENT_LIST_DIR}/debian/postinst;${CMAKE_CURRENT_LIST_DIR}/debian/prerm;${CMAKE_CURRENT_LIST_DIR}/debian/postrm;${CMAKE_CURRENT_LIST_DIR}/debian/conffiles")

set(CPACK_COMPONENT_LIBRARY_DESCRIPTION "client library of Sluice
 Publishes events to a Sluice daemon; functions written in C.")
set(CPACK_DEBIAN_LIBRARY_PACKAGE_SECTION libs)

set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION "client library of Sluice, development files
 Headers, the static library, and what pkg-config and CMake need.")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "libsluice0 (= ${PROJECT_VERSION}), libnng-dev")
include(CPack)
