// Reads a tar archive that comes in pieces of any size: v7, ustar, pax, GNU, star; strictly, for it is hostile input.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "layer/tar_entry.h"
#include "layer/tar_fields.h"

namespace gantry {

/// Where implementations differ it does what Go's archive/tar does, with which docker and umoci unpack: what was looked
/// at with their eyes is what is unpacked. A global header says nothing about the files behind it.
class TarReader {
 public:
  explicit TarReader(TarSink& sink) : sink_(sink) {}

  /// The next piece. Throws LayerError, which names the entry, and what the sink throws. What follows the archive's end
  /// is passed over.
  void Feed(std::string_view bytes);
  /// There are no more. Throws LayerError if there should be.
  void Finish();

 private:
  enum class State : std::uint8_t { kHeader, kExtended, kGnuExtents, kPaxExtents, kContent, kPadding, kEnd };

  void Take(std::string_view& bytes);
  bool Collect(std::string_view& bytes, std::size_t wanted, std::string_view& block);
  void TakeHeader(std::string_view header);
  void TakeExtended(std::string_view body);
  void TakeEntry(std::string_view header, char flag);
  void DescribeSparse(std::string_view header, char flag);
  void TakeGnuExtents(std::string_view table, bool more);
  void TakePaxExtents(std::string_view block);
  void BeginContent();
  void TakeContent(std::string_view& bytes);
  void EndContent();
  std::string Where() const;

  TarSink& sink_;
  State state_ = State::kHeader;
  std::string collected_;  // of a block that came in pieces
  bool block_is_collected_ = false;
  std::uint64_t header_at_ = 0;
  std::uint64_t position_ = 0;
  bool after_zeros_ = false;

  char extended_flag_ = 0;
  std::size_t extended_bytes_ = 0;
  PaxRecords pax_;
  std::string long_path_;
  std::string long_link_;

  TarEntry entry_;
  std::string path_;  // for messages
  std::uint64_t stored_bytes_ = 0;
  std::uint64_t left_ = 0;  // of what is stored
  std::size_t padding_ = 0;
  std::vector<Extent> extents_;
  std::size_t extent_ = 0;  // the one that comes
  std::uint64_t in_extent_ = 0;
  std::vector<std::uint64_t> map_numbers_;
  std::string map_digits_;
};

}  // namespace gantry
