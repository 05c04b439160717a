// Blobs on their way into a repository, one after the other, as client/registry/upload.ts brings them while nothing
// goes wrong: what is there is not sent, what a neighbour has is mounted, and the bytes go with the request that closes
// the session.
#pragma once

#include <string>

#include "launcher/transfer/blob_source.h"
#include "launcher/transfer/http_connection.h"
#include "launcher/transfer/upload_journal.h"

namespace gantry {

enum class Arrival { kPresent, kMounted, kSent };

class BlobUpload {
 public:
  BlobUpload(HttpConnection& to, std::string repository, BlobSource& source, const UploadJournal& journal)
      : to_(to), repository_(std::move(repository)), source_(source), journal_(journal) {}

  /// `mount_from`: a repository of the same registry that may have it, or empty. `begins`: is told when bytes are to
  /// go. Throws an exception if anything is not as it usually is; Node finds in the journal what has arrived by then.
  Arrival Run(const Named& blob, const std::string& mount_from, const std::function<void()>& begins);

 private:
  /// Of the journal.
  std::string KeyOf(const Named& blob) const;
  /// Where the session is; empty if the blob was mounted.
  std::string Open(const Named& blob, const std::string& mount_from);
  void Send(const Named& blob, const std::string& path, const std::function<void()>& begins);

  HttpConnection& to_;
  std::string repository_;
  BlobSource& source_;
  const UploadJournal& journal_;
};

}  // namespace gantry
