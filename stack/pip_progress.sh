#!/usr/bin/env bash
# Turns pip's flood into one line that moves (a line every 25 packages when nobody watches); errors pass through.
set -u
count=0
while IFS= read -r line; do
  case "$line" in
    Collecting*|Requirement\ already*)
      count=$((count + 1))
      if [ -t 1 ]; then printf '\r\033[K  %3d resolved  %s' "$count" "${line:0:70}"
      elif [ $((count % 25)) -eq 0 ]; then printf '  %3d packages resolved\n' "$count"; fi ;;
    *Downloading*) [ -t 1 ] && printf '\r\033[K  %3d resolved  %s' "$count" "${line:0:70}" ;;
    Installing\ collected*) [ -t 1 ] && printf '\r\033[K'; echo "  unpacking (the longest part)" ;;
    ERROR*|error*) printf '\n%s\n' "$line" ;;
    Successfully\ installed*) echo "  installed" ;;
  esac
done
