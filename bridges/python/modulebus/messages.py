"""The messages of callbacks and of the Module API. Generated from schemas/: do not edit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Refusal:
    """Refusal is an answer that forbids what the module was asked about."""

    errcode: str = ""
    error: str = ""
    additional_fields: dict[str, Any] | None = None
    http_status: int | None = None


@dataclass
class Event:
    """Event is one Matrix event, exactly as the homeserver has it."""

    event_id: str = ""
    room_version: str = ""
    json: dict[str, Any] | None = None
    room_id: str = ""


@dataclass
class UserProfile:
    """UserProfile is what the user directory shows of a user."""

    user_id: str = ""
    display_name: str | None = None
    avatar_url: str | None = None


@dataclass
class Threepid:
    """Threepid is a third-party identifier, such as an email address."""

    medium: str = ""
    address: str = field(default="", repr=False)
    validated_at: int | None = None


@dataclass
class RequestInfo:
    """RequestInfo is where a request came from."""

    user_agent: str | None = None
    ip: str = field(default="", repr=False)


@dataclass
class Requester:
    """Requester is the user on whose behalf the homeserver acts."""

    user_id: str = ""
    access_token_id: int | None = None
    is_guest: bool = False
    scope: list[str] = field(default_factory=list)
    shadow_banned: bool = False
    device_id: str | None = None
    app_service_id: str | None = None
    authenticated_entity: str = ""


@dataclass
class Thumbnail:
    """Thumbnail says which thumbnail of a file it is."""

    width: int = 0
    height: int = 0
    method: str = ""
    type: str = ""
    length: int | None = None


@dataclass
class FileInfo:
    """FileInfo says which file of the media repository it is."""

    server_name: str | None = None
    file_id: str = ""
    url_cache: bool = False
    thumbnail: Thumbnail | None = None


@dataclass
class UserPresenceState:
    """UserPresenceState is the presence of one user."""

    user_id: str = ""
    state: str = ""
    last_active_ts: int = 0
    last_federation_update_ts: int = 0
    last_user_sync_ts: int = 0
    status_msg: str | None = None
    currently_active: bool = False


@dataclass
class UserPresenceStates:
    """UserPresenceStates is a set of states, none twice."""

    states: list[UserPresenceState] = field(default_factory=list)


@dataclass
class StateEvent:
    """StateEvent is one event of a room's state."""

    type: str = ""
    state_key: str = ""
    event: Event | None = None


@dataclass
class FileWrapper:
    """FileWrapper is how to read a file."""

    subject: str = ""
    size: int | None = None


@dataclass
class ProfileInfo:
    """ProfileInfo is a user's profile."""

    display_name: str | None = None
    avatar_url: str | None = None


@dataclass
class LoginResponse:
    """LoginResponse is the response to a client that has logged in."""

    user_id: str = ""
    access_token: str | None = field(default=None, repr=False)
    home_server: str = ""
    device_id: str | None = None
    expires_in_ms: int | None = None
    refresh_token: str | None = field(default=None, repr=False)
    well_known: dict[str, Any] | None = None


@dataclass
class MediaUploadLimit:
    """MediaUploadLimit is how much a user may upload in some time."""

    max_bytes: int = 0
    time_period_ms: int = 0
    info_uri: str | None = None
    can_upgrade: bool = False


@dataclass
class MediaUploadLimits:
    """MediaUploadLimits is a list of limits, which may be empty: no limit at all."""

    limits: list[MediaUploadLimit] = field(default_factory=list)


@dataclass
class RatelimitOverride:
    """RatelimitOverride takes the place of a configured rate limit."""

    per_second: float = 0.0
    burst_count: int = 0


@dataclass
class UnsignedFields:
    """UnsignedFields are fields for the unsigned section of an event."""

    fields: dict[str, Any] = field(default_factory=dict)


@dataclass
class FederationEventDeliveryEvent:
    """FederationEventDeliveryEvent says that events were delivered to another server."""

    server_name: str = ""
    events: list[Event] = field(default_factory=list)
    method: str = ""


@dataclass
class UserInfo:
    """UserInfo is what a homeserver knows about a local user."""

    user_id: str = ""
    appservice_id: str | None = None
    consent_server_notice_sent: str | None = None
    consent_version: str | None = None
    consent_ts: int | None = None
    user_type: str | None = None
    creation_ts: int = 0
    is_admin: bool = False
    is_deactivated: bool = False
    is_guest: bool = False
    is_shadow_banned: bool = False
    approved: bool = False
    locked: bool = False
    suspended: bool = False


@dataclass
class HttpHeader:
    """HttpHeader is one line of an HTTP header."""

    name: str = ""
    value: str = ""


@dataclass
class UserIpAndAgent:
    """UserIpAndAgent is an address and a user agent that a user was seen with."""

    ip: str = field(default="", repr=False)
    user_agent: str = ""
    last_seen: int = 0


@dataclass
class ActiveUser:
    """ActiveUser is a user that was active."""

    appservice_id: str = ""
    user_id: str = ""


@dataclass
class StateEventType:
    """StateEventType names state events: of one type, or one of them."""

    type: str = ""
    state_key: str | None = None


@dataclass
class PresenceUpdate:
    """PresenceUpdate is what a user's presence is set to."""

    state: str = ""
    status_msg: str | None = None


@dataclass
class ExternalId:
    """ExternalId is the ID of a user at an identity provider."""

    auth_provider: str = ""
    external_id: str = ""


@dataclass
class ListedUser:
    """ListedUser is one user of a list."""

    name: str = ""
    user_type: str | None = None
    is_guest: bool = False
    admin: bool = False
    deactivated: bool = False
    shadow_banned: bool = False
    displayname: str | None = None
    avatar_url: str | None = None
    creation_ts: int = 0
    approved: bool = False
    erased: bool = False
    last_seen_ts: int | None = None
    locked: bool = False


@dataclass
class RegistrationToken:
    """RegistrationToken is a token that clients can register users with."""

    token: str = ""
    uses_allowed: int | None = None
    pending: int = 0
    completed: int = 0
    expiry_time: int | None = None


@dataclass
class OnAccountDataUpdatedRequest:
    """OnAccountDataUpdatedRequest."""

    user_id: str = ""
    room_id: str | None = None
    account_data_type: str = ""
    content: dict[str, Any] | None = None


@dataclass
class OnAccountDataUpdatedResponse:
    """OnAccountDataUpdatedResponse."""


@dataclass
class IsUserExpiredRequest:
    """IsUserExpiredRequest."""

    user: str = ""


@dataclass
class IsUserExpiredResponse:
    """IsUserExpiredResponse."""

    expired: bool | None = None


@dataclass
class OnUserRegistrationRequest:
    """OnUserRegistrationRequest."""

    user: str = ""


@dataclass
class OnUserRegistrationResponse:
    """OnUserRegistrationResponse."""


@dataclass
class OnUserLoginRequest:
    """OnUserLoginRequest."""

    user_id: str = ""
    auth_provider_type: str | None = None
    auth_provider_id: str | None = None


@dataclass
class OnUserLoginResponse:
    """OnUserLoginResponse."""


@dataclass
class AddFieldToUnsignedCallbackRequest:
    """AddFieldToUnsignedCallbackRequest."""

    events: list[Event] = field(default_factory=list)


@dataclass
class AddFieldToUnsignedCallbackResponse:
    """AddFieldToUnsignedCallbackResponse."""

    unsigned: dict[str, UnsignedFields] = field(default_factory=dict)


@dataclass
class OnUpdateRequest:
    """OnUpdateRequest."""

    update_name: str = ""
    database_name: str = ""
    one_shot: bool = False


@dataclass
class OnUpdateResponse:
    """OnUpdateResponse."""

    target_duration_ms: int | None = None
    token: str = ""
    worker: str = ""


@dataclass
class OnUpdateEndRequest:
    """OnUpdateEndRequest."""

    module: str = ""
    worker: str = ""
    token: str = ""
    lost: bool = False


@dataclass
class OnUpdateEndResponse:
    """OnUpdateEndResponse."""


@dataclass
class DefaultBatchSizeRequest:
    """DefaultBatchSizeRequest."""

    update_name: str = ""
    database_name: str = ""


@dataclass
class DefaultBatchSizeResponse:
    """DefaultBatchSizeResponse."""

    batch_size: int | None = None


@dataclass
class MinBatchSizeRequest:
    """MinBatchSizeRequest."""

    update_name: str = ""
    database_name: str = ""


@dataclass
class MinBatchSizeResponse:
    """MinBatchSizeResponse."""

    batch_size: int | None = None


@dataclass
class OnEventDeliveredOverFederationRequest:
    """OnEventDeliveredOverFederationRequest."""

    delivery: FederationEventDeliveryEvent | None = None


@dataclass
class OnEventDeliveredOverFederationResponse:
    """OnEventDeliveredOverFederationResponse."""


@dataclass
class GetMediaConfigForUserRequest:
    """GetMediaConfigForUserRequest."""

    user_id: str = ""


@dataclass
class GetMediaConfigForUserResponse:
    """GetMediaConfigForUserResponse."""

    media_config: dict[str, Any] | None = None


@dataclass
class IsUserAllowedToUploadMediaOfSizeRequest:
    """IsUserAllowedToUploadMediaOfSizeRequest."""

    user_id: str = ""
    size: int = 0


@dataclass
class IsUserAllowedToUploadMediaOfSizeResponse:
    """IsUserAllowedToUploadMediaOfSizeResponse."""

    refusal: Refusal | None = None


@dataclass
class GetMediaUploadLimitsForUserRequest:
    """GetMediaUploadLimitsForUserRequest."""

    user_id: str = ""


@dataclass
class GetMediaUploadLimitsForUserResponse:
    """GetMediaUploadLimitsForUserResponse."""

    limits: MediaUploadLimits | None = None


@dataclass
class OnMediaUploadLimitExceededRequest:
    """OnMediaUploadLimitExceededRequest."""

    user_id: str = ""
    limit: MediaUploadLimit | None = None
    sent_bytes: int = 0
    attempted_bytes: int = 0


@dataclass
class OnMediaUploadLimitExceededResponse:
    """OnMediaUploadLimitExceededResponse."""


@dataclass
class AuthCheckersRequest:
    """AuthCheckersRequest."""

    user: str = ""
    login_type: str = ""
    login_dict: dict[str, Any] | None = field(default=None, repr=False)


@dataclass
class AuthCheckersResponse:
    """AuthCheckersResponse."""

    user_id: str = ""
    tell_login: bool = False
    token: str = field(default="", repr=False)
    worker: str = ""


@dataclass
class OnAuthCheckersLoginRequest:
    """OnAuthCheckersLoginRequest."""

    module: str = ""
    worker: str = ""
    token: str = field(default="", repr=False)
    response: LoginResponse | None = None


@dataclass
class OnAuthCheckersLoginResponse:
    """OnAuthCheckersLoginResponse."""


@dataclass
class Check3PidAuthRequest:
    """Check3PidAuthRequest."""

    medium: str = ""
    address: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


@dataclass
class Check3PidAuthResponse:
    """Check3PidAuthResponse."""

    user_id: str = ""
    tell_login: bool = False
    token: str = field(default="", repr=False)
    worker: str = ""


@dataclass
class OnLoggedOutRequest:
    """OnLoggedOutRequest."""

    user_id: str = ""
    device_id: str | None = None
    access_token: str = field(default="", repr=False)


@dataclass
class OnLoggedOutResponse:
    """OnLoggedOutResponse."""


@dataclass
class GetUsernameForRegistrationRequest:
    """GetUsernameForRegistrationRequest."""

    uia_results: dict[str, Any] | None = field(default=None, repr=False)
    params: dict[str, Any] | None = field(default=None, repr=False)


@dataclass
class GetUsernameForRegistrationResponse:
    """GetUsernameForRegistrationResponse."""

    username: str | None = None


@dataclass
class GetDisplaynameForRegistrationRequest:
    """GetDisplaynameForRegistrationRequest."""

    uia_results: dict[str, Any] | None = field(default=None, repr=False)
    params: dict[str, Any] | None = field(default=None, repr=False)


@dataclass
class GetDisplaynameForRegistrationResponse:
    """GetDisplaynameForRegistrationResponse."""

    displayname: str | None = None


@dataclass
class Is3PidAllowedRequest:
    """Is3PidAllowedRequest."""

    medium: str = ""
    address: str = field(default="", repr=False)
    registration: bool = False


@dataclass
class Is3PidAllowedResponse:
    """Is3PidAllowedResponse."""

    refusal: Refusal | None = None


@dataclass
class GetUsersForStatesRequest:
    """GetUsersForStatesRequest."""

    state_updates: list[UserPresenceState] = field(default_factory=list)


@dataclass
class GetUsersForStatesResponse:
    """GetUsersForStatesResponse."""

    users: dict[str, UserPresenceStates] = field(default_factory=dict)


@dataclass
class GetInterestedUsersRequest:
    """GetInterestedUsersRequest."""

    user_id: str = ""


@dataclass
class GetInterestedUsersResponse:
    """GetInterestedUsersResponse."""

    users: list[str] = field(default_factory=list)
    all_users: bool = False


@dataclass
class GetRatelimitOverrideForUserRequest:
    """GetRatelimitOverrideForUserRequest."""

    user: str = ""
    limiter_name: str = ""


@dataclass
class GetRatelimitOverrideForUserResponse:
    """GetRatelimitOverrideForUserResponse."""

    override: RatelimitOverride | None = None


@dataclass
class CheckEventForSpamRequest:
    """CheckEventForSpamRequest."""

    event: Event | None = None


@dataclass
class CheckEventForSpamResponse:
    """CheckEventForSpamResponse."""

    refusal: Refusal | None = None


@dataclass
class UserMayInviteRequest:
    """UserMayInviteRequest."""

    inviter: str = ""
    invitee: str = ""
    room_id: str = ""


@dataclass
class UserMayInviteResponse:
    """UserMayInviteResponse."""

    refusal: Refusal | None = None


@dataclass
class UserMayCreateRoomRequest:
    """UserMayCreateRoomRequest."""

    user_id: str = ""
    room_config: dict[str, Any] | None = None


@dataclass
class UserMayCreateRoomResponse:
    """UserMayCreateRoomResponse."""

    refusal: Refusal | None = None


@dataclass
class UserMayCreateRoomAliasRequest:
    """UserMayCreateRoomAliasRequest."""

    user_id: str = ""
    room_alias: str = ""


@dataclass
class UserMayCreateRoomAliasResponse:
    """UserMayCreateRoomAliasResponse."""

    refusal: Refusal | None = None


@dataclass
class UserMayPublishRoomRequest:
    """UserMayPublishRoomRequest."""

    user_id: str = ""
    room_id: str = ""


@dataclass
class UserMayPublishRoomResponse:
    """UserMayPublishRoomResponse."""

    refusal: Refusal | None = None


@dataclass
class CheckUsernameForSpamRequest:
    """CheckUsernameForSpamRequest."""

    user_profile: UserProfile | None = None
    requester_id: str = ""


@dataclass
class CheckUsernameForSpamResponse:
    """CheckUsernameForSpamResponse."""

    refusal: Refusal | None = None


@dataclass
class CheckRegistrationForSpamRequest:
    """CheckRegistrationForSpamRequest."""

    email_threepid: Threepid | None = None
    username: str | None = None
    request_info: list[RequestInfo] = field(default_factory=list)
    auth_provider_id: str | None = None


@dataclass
class CheckRegistrationForSpamResponse:
    """CheckRegistrationForSpamResponse."""

    refusal: Refusal | None = None
    shadow_ban: bool = False


@dataclass
class CheckMediaFileForSpamRequest:
    """CheckMediaFileForSpamRequest."""

    file_info: FileInfo | None = None
    file_wrapper: FileWrapper | None = None


@dataclass
class CheckMediaFileForSpamResponse:
    """CheckMediaFileForSpamResponse."""

    refusal: Refusal | None = None


@dataclass
class ShouldDropFederatedEventRequest:
    """ShouldDropFederatedEventRequest."""

    event: Event | None = None


@dataclass
class ShouldDropFederatedEventResponse:
    """ShouldDropFederatedEventResponse."""

    refusal: Refusal | None = None


@dataclass
class UserMayJoinRoomRequest:
    """UserMayJoinRoomRequest."""

    user: str = ""
    room: str = ""
    is_invited: bool = False


@dataclass
class UserMayJoinRoomResponse:
    """UserMayJoinRoomResponse."""

    refusal: Refusal | None = None


@dataclass
class FederatedUserMayInviteRequest:
    """FederatedUserMayInviteRequest."""

    event: Event | None = None


@dataclass
class FederatedUserMayInviteResponse:
    """FederatedUserMayInviteResponse."""

    refusal: Refusal | None = None


@dataclass
class UserMaySend3PidInviteRequest:
    """UserMaySend3PidInviteRequest."""

    inviter: str = ""
    medium: str = ""
    address: str = field(default="", repr=False)
    room_id: str = ""


@dataclass
class UserMaySend3PidInviteResponse:
    """UserMaySend3PidInviteResponse."""

    refusal: Refusal | None = None


@dataclass
class UserMaySendStateEventRequest:
    """UserMaySendStateEventRequest."""

    user_id: str = ""
    room_id: str = ""
    event_type: str = ""
    state_key: str = ""
    content: dict[str, Any] | None = None


@dataclass
class UserMaySendStateEventResponse:
    """UserMaySendStateEventResponse."""

    refusal: Refusal | None = None


@dataclass
class CheckLoginForSpamRequest:
    """CheckLoginForSpamRequest."""

    user_id: str = ""
    device_id: str | None = None
    initial_display_name: str | None = None
    request_info: list[RequestInfo] = field(default_factory=list)
    auth_provider_id: str | None = None


@dataclass
class CheckLoginForSpamResponse:
    """CheckLoginForSpamResponse."""

    refusal: Refusal | None = None


@dataclass
class AcceptMakeJoinRequest:
    """AcceptMakeJoinRequest."""

    user: str = ""
    room: str = ""


@dataclass
class AcceptMakeJoinResponse:
    """AcceptMakeJoinResponse."""

    refusal: Refusal | None = None


@dataclass
class CheckEventAllowedRequest:
    """CheckEventAllowedRequest."""

    event: Event | None = None
    state_events: list[StateEvent] = field(default_factory=list)


@dataclass
class CheckEventAllowedResponse:
    """CheckEventAllowedResponse."""

    refusal: Refusal | None = None
    replacement: dict[str, Any] | None = None


@dataclass
class OnCreateRoomRequest:
    """OnCreateRoomRequest."""

    requester: Requester | None = None
    request_content: dict[str, Any] | None = None
    is_requester_admin: bool = False


@dataclass
class OnCreateRoomResponse:
    """OnCreateRoomResponse."""

    refusal: Refusal | None = None
    request_content: dict[str, Any] | None = None


@dataclass
class CheckThreepidCanBeInvitedRequest:
    """CheckThreepidCanBeInvitedRequest."""

    medium: str = ""
    address: str = field(default="", repr=False)
    state_events: list[StateEvent] = field(default_factory=list)


@dataclass
class CheckThreepidCanBeInvitedResponse:
    """CheckThreepidCanBeInvitedResponse."""

    refusal: Refusal | None = None


@dataclass
class CheckVisibilityCanBeModifiedRequest:
    """CheckVisibilityCanBeModifiedRequest."""

    room_id: str = ""
    state_events: list[StateEvent] = field(default_factory=list)
    new_visibility: str = ""


@dataclass
class CheckVisibilityCanBeModifiedResponse:
    """CheckVisibilityCanBeModifiedResponse."""

    refusal: Refusal | None = None


@dataclass
class OnNewEventRequest:
    """OnNewEventRequest."""

    event: Event | None = None
    state_events: list[StateEvent] = field(default_factory=list)


@dataclass
class OnNewEventResponse:
    """OnNewEventResponse."""


@dataclass
class CheckCanShutdownRoomRequest:
    """CheckCanShutdownRoomRequest."""

    user_id: str | None = None
    room_id: str = ""


@dataclass
class CheckCanShutdownRoomResponse:
    """CheckCanShutdownRoomResponse."""

    refusal: Refusal | None = None


@dataclass
class CheckCanDeactivateUserRequest:
    """CheckCanDeactivateUserRequest."""

    user_id: str = ""
    by_admin: bool = False


@dataclass
class CheckCanDeactivateUserResponse:
    """CheckCanDeactivateUserResponse."""

    refusal: Refusal | None = None


@dataclass
class OnProfileUpdateRequest:
    """OnProfileUpdateRequest."""

    user_id: str = ""
    new_profile: ProfileInfo | None = None
    by_admin: bool = False
    deactivation: bool = False


@dataclass
class OnProfileUpdateResponse:
    """OnProfileUpdateResponse."""


@dataclass
class OnUserDeactivationStatusChangedRequest:
    """OnUserDeactivationStatusChangedRequest."""

    user_id: str = ""
    deactivated: bool = False
    by_admin: bool = False


@dataclass
class OnUserDeactivationStatusChangedResponse:
    """OnUserDeactivationStatusChangedResponse."""


@dataclass
class OnThreepidBindRequest:
    """OnThreepidBindRequest."""

    user_id: str = ""
    medium: str = ""
    address: str = field(default="", repr=False)


@dataclass
class OnThreepidBindResponse:
    """OnThreepidBindResponse."""


@dataclass
class OnAddUserThirdPartyIdentifierRequest:
    """OnAddUserThirdPartyIdentifierRequest."""

    user_id: str = ""
    medium: str = ""
    address: str = field(default="", repr=False)


@dataclass
class OnAddUserThirdPartyIdentifierResponse:
    """OnAddUserThirdPartyIdentifierResponse."""


@dataclass
class OnRemoveUserThirdPartyIdentifierRequest:
    """OnRemoveUserThirdPartyIdentifierRequest."""

    user_id: str = ""
    medium: str = ""
    address: str = field(default="", repr=False)


@dataclass
class OnRemoveUserThirdPartyIdentifierResponse:
    """OnRemoveUserThirdPartyIdentifierResponse."""


@dataclass
class PropertiesRequest:
    """PropertiesRequest."""


@dataclass
class PropertiesResponse:
    """PropertiesResponse."""

    server_name: str = ""
    public_baseurl: str | None = None
    email_app_name: str | None = None
    worker_name: str | None = None
    worker_app: str | None = None
    version: str | None = None


@dataclass
class GetUserinfoByIdRequest:
    """GetUserinfoByIdRequest."""

    user_id: str = ""


@dataclass
class GetUserinfoByIdResponse:
    """GetUserinfoByIdResponse."""

    userinfo: UserInfo | None = None


@dataclass
class GetUserByReqRequest:
    """GetUserByReqRequest."""

    access_token: str = field(default="", repr=False)
    allow_guest: bool = False
    allow_expired: bool = False
    ip: str | None = field(default=None, repr=False)
    user_agent: str | None = None


@dataclass
class GetUserByReqResponse:
    """GetUserByReqResponse."""

    requester: Requester | None = None


@dataclass
class IsUserAdminRequest:
    """IsUserAdminRequest."""

    user_id: str = ""


@dataclass
class IsUserAdminResponse:
    """IsUserAdminResponse."""

    is_admin: bool = False


@dataclass
class SetUserAdminRequest:
    """SetUserAdminRequest."""

    user_id: str = ""
    admin: bool = False


@dataclass
class SetUserAdminResponse:
    """SetUserAdminResponse."""


@dataclass
class GetProfileForUserRequest:
    """GetProfileForUserRequest."""

    localpart: str = ""


@dataclass
class GetProfileForUserResponse:
    """GetProfileForUserResponse."""

    profile: ProfileInfo | None = None


@dataclass
class GetThreepidsForUserRequest:
    """GetThreepidsForUserRequest."""

    user_id: str = ""


@dataclass
class GetThreepidsForUserResponse:
    """GetThreepidsForUserResponse."""

    threepids: list[Threepid] = field(default_factory=list)


@dataclass
class CheckUserExistsRequest:
    """CheckUserExistsRequest."""

    user_id: str = ""


@dataclass
class CheckUserExistsResponse:
    """CheckUserExistsResponse."""

    user_id: str | None = None


@dataclass
class CheckUsernameRequest:
    """CheckUsernameRequest."""

    username: str = ""


@dataclass
class CheckUsernameResponse:
    """CheckUsernameResponse."""


@dataclass
class RegisterUserRequest:
    """RegisterUserRequest."""

    localpart: str = ""
    displayname: str | None = None
    emails: list[str] = field(default_factory=list, repr=False)
    admin: bool = False


@dataclass
class RegisterUserResponse:
    """RegisterUserResponse."""

    user_id: str = ""


@dataclass
class RegisterDeviceRequest:
    """RegisterDeviceRequest."""

    user_id: str = ""
    device_id: str | None = None
    initial_display_name: str | None = None


@dataclass
class RegisterDeviceResponse:
    """RegisterDeviceResponse."""

    device_id: str = ""
    access_token: str = field(default="", repr=False)
    valid_until_ms: int | None = None
    refresh_token: str | None = field(default=None, repr=False)


@dataclass
class RecordUserExternalIdRequest:
    """RecordUserExternalIdRequest."""

    auth_provider_id: str = ""
    remote_user_id: str = ""
    registered_user_id: str = ""


@dataclass
class RecordUserExternalIdResponse:
    """RecordUserExternalIdResponse."""


@dataclass
class CreateLoginTokenRequest:
    """CreateLoginTokenRequest."""

    user_id: str = ""
    duration_in_ms: int | None = None
    auth_provider_id: str | None = None
    auth_provider_session_id: str | None = None


@dataclass
class CreateLoginTokenResponse:
    """CreateLoginTokenResponse."""

    token: str = field(default="", repr=False)


@dataclass
class InvalidateAccessTokenRequest:
    """InvalidateAccessTokenRequest."""

    access_token: str = field(default="", repr=False)


@dataclass
class InvalidateAccessTokenResponse:
    """InvalidateAccessTokenResponse."""


@dataclass
class CompleteSsoLoginAsyncRequest:
    """CompleteSsoLoginAsyncRequest."""

    registered_user_id: str = ""
    client_redirect_url: str = ""
    new_user: bool = False
    auth_provider_id: str | None = None
    ip: str | None = field(default=None, repr=False)
    user_agent: str | None = None


@dataclass
class CompleteSsoLoginAsyncResponse:
    """CompleteSsoLoginAsyncResponse."""

    status: int = 0
    headers: list[HttpHeader] = field(default_factory=list, repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass
class SetDisplaynameRequest:
    """SetDisplaynameRequest."""

    user_id: str = ""
    new_displayname: str = ""


@dataclass
class SetDisplaynameResponse:
    """SetDisplaynameResponse."""


@dataclass
class GetUserIpAndAgentsRequest:
    """GetUserIpAndAgentsRequest."""

    user_id: str = ""
    since_ts: int = 0


@dataclass
class GetUserIpAndAgentsResponse:
    """GetUserIpAndAgentsResponse."""

    ip_and_agents: list[UserIpAndAgent] = field(default_factory=list)


@dataclass
class GetMonthlyActiveUsersByServiceRequest:
    """GetMonthlyActiveUsersByServiceRequest."""

    start_timestamp: int | None = None
    end_timestamp: int | None = None


@dataclass
class GetMonthlyActiveUsersByServiceResponse:
    """GetMonthlyActiveUsersByServiceResponse."""

    users: list[ActiveUser] = field(default_factory=list)


@dataclass
class StoreRemote3PidAssociationRequest:
    """StoreRemote3PidAssociationRequest."""

    user_id: str = ""
    medium: str = ""
    address: str = field(default="", repr=False)
    id_server: str = ""


@dataclass
class StoreRemote3PidAssociationResponse:
    """StoreRemote3PidAssociationResponse."""


@dataclass
class GetRoomStateRequest:
    """GetRoomStateRequest."""

    room_id: str = ""
    event_filter: list[StateEventType] = field(default_factory=list)


@dataclass
class GetRoomStateResponse:
    """GetRoomStateResponse."""

    state: list[StateEvent] = field(default_factory=list)


@dataclass
class GetStateEventsInRoomRequest:
    """GetStateEventsInRoomRequest."""

    room_id: str = ""
    types: list[StateEventType] = field(default_factory=list)


@dataclass
class GetStateEventsInRoomResponse:
    """GetStateEventsInRoomResponse."""

    state: list[StateEvent] = field(default_factory=list)


@dataclass
class CreateAndSendEventIntoRoomRequest:
    """CreateAndSendEventIntoRoomRequest."""

    event_dict: dict[str, Any] | None = None


@dataclass
class CreateAndSendEventIntoRoomResponse:
    """CreateAndSendEventIntoRoomResponse."""

    event: Event | None = None


@dataclass
class UpdateRoomMembershipRequest:
    """UpdateRoomMembershipRequest."""

    sender: str = ""
    target: str = ""
    room_id: str = ""
    new_membership: str = ""
    content: dict[str, Any] | None = None
    remote_room_hosts: list[str] = field(default_factory=list)


@dataclass
class UpdateRoomMembershipResponse:
    """UpdateRoomMembershipResponse."""

    event: Event | None = None


@dataclass
class CreateRoomRequest:
    """CreateRoomRequest."""

    user_id: str = ""
    config: dict[str, Any] | None = None
    ratelimit: bool | None = None
    creator_join_profile: dict[str, Any] | None = None


@dataclass
class CreateRoomResponse:
    """CreateRoomResponse."""

    room_id: str = ""
    room_alias: str | None = None


@dataclass
class DeleteRoomRequest:
    """DeleteRoomRequest."""

    room_id: str = ""


@dataclass
class DeleteRoomResponse:
    """DeleteRoomResponse."""


@dataclass
class LookupRoomAliasRequest:
    """LookupRoomAliasRequest."""

    room_alias: str = ""


@dataclass
class LookupRoomAliasResponse:
    """LookupRoomAliasResponse."""

    room_id: str = ""
    servers: list[str] = field(default_factory=list)


@dataclass
class GetCanonicalRoomAliasRequest:
    """GetCanonicalRoomAliasRequest."""

    room_id: str = ""


@dataclass
class GetCanonicalRoomAliasResponse:
    """GetCanonicalRoomAliasResponse."""

    room_alias: str | None = None


@dataclass
class RoomIsInPublicRoomListRequest:
    """RoomIsInPublicRoomListRequest."""

    room_id: str = ""


@dataclass
class RoomIsInPublicRoomListResponse:
    """RoomIsInPublicRoomListResponse."""

    is_public: bool = False


@dataclass
class AddRoomToPublicRoomListRequest:
    """AddRoomToPublicRoomListRequest."""

    room_id: str = ""


@dataclass
class AddRoomToPublicRoomListResponse:
    """AddRoomToPublicRoomListResponse."""


@dataclass
class RemoveRoomFromPublicRoomListRequest:
    """RemoveRoomFromPublicRoomListRequest."""

    room_id: str = ""


@dataclass
class RemoveRoomFromPublicRoomListResponse:
    """RemoveRoomFromPublicRoomListResponse."""


@dataclass
class SendLocalOnlinePresenceToRequest:
    """SendLocalOnlinePresenceToRequest."""

    users: list[str] = field(default_factory=list)


@dataclass
class SendLocalOnlinePresenceToResponse:
    """SendLocalOnlinePresenceToResponse."""


@dataclass
class SetPresenceForUsersRequest:
    """SetPresenceForUsersRequest."""

    users: dict[str, PresenceUpdate] = field(default_factory=dict)


@dataclass
class SetPresenceForUsersResponse:
    """SetPresenceForUsersResponse."""


@dataclass
class SendHttpPushNotificationRequest:
    """SendHttpPushNotificationRequest."""

    user_id: str = ""
    device_id: str | None = None
    content: dict[str, Any] | None = None
    tweaks: dict[str, Any] | None = None
    default_payload: dict[str, Any] | None = None


@dataclass
class SendHttpPushNotificationResponse:
    """SendHttpPushNotificationResponse."""

    sent: dict[str, bool] = field(default_factory=dict)


@dataclass
class SetPushRuleActionRequest:
    """SetPushRuleActionRequest."""

    user_id: str = ""
    scope: str = ""
    kind: str = ""
    rule_id: str = ""
    actions: list[str] = field(default_factory=list)


@dataclass
class SetPushRuleActionResponse:
    """SetPushRuleActionResponse."""


@dataclass
class SendMailRequest:
    """SendMailRequest."""

    recipient: str = field(default="", repr=False)
    subject: str = ""
    html: str = field(default="", repr=False)
    text: str = field(default="", repr=False)


@dataclass
class SendMailResponse:
    """SendMailResponse."""


@dataclass
class SendFederationHttpRequestRequest:
    """SendFederationHttpRequestRequest."""

    method: str = ""
    remote_server_name: str = ""
    path: str = ""
    query_parameters: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] | None = None
    timeout: int | None = None


@dataclass
class SendFederationHttpRequestResponse:
    """SendFederationHttpRequestResponse."""

    body: dict[str, Any] | None = None


@dataclass
class GetGlobalRequest:
    """GetGlobalRequest."""

    user_id: str = ""
    data_type: str = ""


@dataclass
class GetGlobalResponse:
    """GetGlobalResponse."""

    data: dict[str, Any] | None = None


@dataclass
class PutGlobalRequest:
    """PutGlobalRequest."""

    user_id: str = ""
    data_type: str = ""
    new_data: dict[str, Any] | None = None


@dataclass
class PutGlobalResponse:
    """PutGlobalResponse."""


@dataclass
class GetExternalIdsByUserRequest:
    """GetExternalIdsByUserRequest."""

    mxid: str = ""


@dataclass
class GetExternalIdsByUserResponse:
    """GetExternalIdsByUserResponse."""

    external_ids: list[ExternalId] = field(default_factory=list)


@dataclass
class GetUserByExternalIdRequest:
    """GetUserByExternalIdRequest."""

    auth_provider: str = ""
    external_id: str = ""


@dataclass
class GetUserByExternalIdResponse:
    """GetUserByExternalIdResponse."""

    user_id: str | None = None


@dataclass
class AddThreepidRequest:
    """AddThreepidRequest."""

    user_id: str = ""
    medium: str = ""
    address: str = ""
    validated_at: int = 0


@dataclass
class AddThreepidResponse:
    """AddThreepidResponse."""


@dataclass
class GetUsersPaginateRequest:
    """GetUsersPaginateRequest."""

    start: int = 0
    limit: int = 0
    user_id: str | None = None
    name: str | None = None
    guests: bool | None = None
    deactivated: bool | None = None
    order_by: str | None = None
    direction: str | None = None


@dataclass
class GetUsersPaginateResponse:
    """GetUsersPaginateResponse."""

    users: list[ListedUser] = field(default_factory=list)
    total: int = 0


@dataclass
class DeactivateAccountRequest:
    """DeactivateAccountRequest."""

    user_id: str = ""
    erase_data: bool = False


@dataclass
class DeactivateAccountResponse:
    """DeactivateAccountResponse."""

    identity_server_supports_unbinding: bool = False


@dataclass
class CreateRegistrationTokenRequest:
    """CreateRegistrationTokenRequest."""

    token: str = ""
    uses_allowed: int | None = None
    expiry_time: int | None = None


@dataclass
class CreateRegistrationTokenResponse:
    """CreateRegistrationTokenResponse."""

    created: bool = False


@dataclass
class RegistrationTokenIsValidRequest:
    """RegistrationTokenIsValidRequest."""

    token: str = ""


@dataclass
class RegistrationTokenIsValidResponse:
    """RegistrationTokenIsValidResponse."""

    is_valid: bool = False


@dataclass
class GetRegistrationTokensRequest:
    """GetRegistrationTokensRequest."""

    valid: bool | None = None


@dataclass
class GetRegistrationTokensResponse:
    """GetRegistrationTokensResponse."""

    tokens: list[RegistrationToken] = field(default_factory=list)


@dataclass
class DeleteRegistrationTokenRequest:
    """DeleteRegistrationTokenRequest."""

    token: str = ""


@dataclass
class DeleteRegistrationTokenResponse:
    """DeleteRegistrationTokenResponse."""

    deleted: bool = False

