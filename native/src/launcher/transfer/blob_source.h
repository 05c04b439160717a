// Where blobs come from: another registry, or the local store. Every byte of one is hashed before the last of it goes
// on, unless its file is known to be right.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/sys.h"
#include "launcher/transfer/http_connection.h"
#include "launcher/transfer/manifest.h"

namespace gantry {

class BlobSource {
 public:
  virtual ~BlobSource() = default;
  /// What takes a while to come is asked for.
  virtual void Begin(const Named& blob) = 0;
  /// The blob that was begun, as the body of what `to` was asked. `moved` is told after each piece. Throws an exception
  /// before the last byte has gone if it is not what its digest says.
  virtual void SendTo(HttpConnection& to, const std::function<void()>& moved) = 0;
};

class RegistrySource : public BlobSource {
 public:
  /// `host` and `stop` outlive it.
  RegistrySource(const PlainHost& host, const Stop& stop, std::string repository)
      : from_(host, stop), repository_(std::move(repository)) {}
  void Begin(const Named& blob) override;
  void SendTo(HttpConnection& to, const std::function<void()>& moved) override;

 private:
  HttpConnection from_;
  std::string repository_;
  Named blob_;
};

class StoreSource : public BlobSource {
 public:
  /// `folder`: of blobs of sha256.
  explicit StoreSource(std::string folder) : folder_(std::move(folder)) {}
  void Begin(const Named& blob) override;
  void SendTo(HttpConnection& to, const std::function<void()>& moved) override;

 private:
  std::string folder_;
  Named blob_;
  UniqueFd file_;
};

}  // namespace gantry
